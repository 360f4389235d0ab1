/* Whether denormal numbers count, on the calling thread. Part of simd.h. */
#ifndef CONVNET_FLOAT_STATE_H
#define CONVNET_FLOAT_STATE_H

/* Denormal numbers count as 0, and results that would be denormal become 0, from this statement to
 * the end of its scope, on the calling thread alone. A multiply-add with a denormal factor takes 70
 * times as long as one without; sums and comparisons do not care. */
#if defined(__x86_64__)
INLINE uint64_t float_state(void) { return __builtin_ia32_stmxcsr(); }
INLINE void set_float_state(uint64_t state) { __builtin_ia32_ldmxcsr((uint32_t)state); }
#define FLUSHING ((uint64_t)0x8040) /* FTZ, DAZ */
#elif defined(__aarch64__)
INLINE uint64_t float_state(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state) : : "memory");
    return state;
}
INLINE void set_float_state(uint64_t state) {
    __asm__ volatile("msr fpcr, %0" : : "r"(state) : "memory");
}
#define FLUSHING ((uint64_t)1 << 24) /* FZ */
#else
INLINE uint64_t float_state(void) { return 0; }
INLINE void set_float_state(uint64_t state) { (void)state; }
#define FLUSHING ((uint64_t)0)
#endif
INLINE uint64_t begin_flushing(int wanted) {
    uint64_t state = float_state();
    if (wanted && (state & FLUSHING) != FLUSHING) set_float_state(state | FLUSHING);
    return state;
}
INLINE void end_flushing(const uint64_t *state) {
    if ((*state & FLUSHING) != FLUSHING) set_float_state(*state);
}
#define flush_denormals_if(wanted) \
    __attribute__((cleanup(end_flushing), unused)) const uint64_t former_state = begin_flushing(wanted)
#define flush_denormals() flush_denormals_if(1)

#endif
