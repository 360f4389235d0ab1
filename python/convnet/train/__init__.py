"""`convnet train` and `convnet predict`: a network on handwritten digits, from data to pictures.

digits.py reads the data, models.py holds the networks, fit.py the loop, progress.py shows it,
plots.py draws, command.py and predict.py are the commands.
"""
