# cython: language_level=3
"""Which instruction-set level this processor has. Built for the baseline; holds no kernels."""

cdef extern from *:
    """
    #if defined(__x86_64__)
    /* The level's name needs GCC 12 or clang 17; its vector features tell as much everywhere. */
    static int convnet_level(void) {
        __builtin_cpu_init();
        if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"))) return 1;
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
              && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))) return 2;
        if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
              && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
              && __builtin_cpu_supports("avx512vl"))) return 3;
        return 4;
    }
    #else
    static int convnet_level(void) { return 0; }
    #endif
    #ifdef _OPENMP
    #define CONVNET_OPENMP 1
    #else
    #define CONVNET_OPENMP 0
    #endif
    #if defined(__clang__)
    #define CONVNET_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define CONVNET_COMPILER "gcc " __VERSION__
    #else
    #define CONVNET_COMPILER "unknown"
    #endif
    """
    int convnet_level() noexcept nogil
    const int CONVNET_OPENMP
    const char *CONVNET_COMPILER


def level():
    """The highest x86-64 level (1 to 4) of this processor; 0 on any other architecture."""
    return convnet_level()


def openmp():
    """Whether the kernels were built with OpenMP."""
    return bool(CONVNET_OPENMP)


def compiler():
    """The compiler that built this package."""
    return CONVNET_COMPILER.decode()
