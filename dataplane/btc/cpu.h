/* cpu.h - what this CPU offers to the kernels that are chosen at run time.

   Threads Pure, any thread. */
#ifndef VIGIL_BTC_CPU_H
#define VIGIL_BTC_CPU_H

enum cpu_feature {
	CPU_SSE41 = 1u << 0, /* SSE4.1 and SSSE3 */
	CPU_SHANI = 1u << 1,
	CPU_AVX2 = 1u << 2,
	CPU_AVX512 = 1u << 3, /* F, BW and VL */
};

/* What CPU and operating system (XCR0) both support: a mix of CPU_* bits, 0 on other architectures. */
unsigned cpu_features(void);

#endif
