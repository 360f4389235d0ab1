"""`convnet bench`: convnet timed against other packages, layer by layer.

A suite is a list of tasks (tasks.py, suites.py). A workload (workloads/) knows what a task reads,
what its exact result is and what it costs. A peer (peers/) knows how a package's users would run
it. Each peer lives in a process of its own (worker.py), which runs only when it is its turn
(process.py); the runner (run.py) goes round them, A B A B, and checks what was timed. The rest
shows the result: table.py, summary.py, plots.py, compare.py, report.py. docs/benchmarks.md explains
the method to those who read the figures.
"""
