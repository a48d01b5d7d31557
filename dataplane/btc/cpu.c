#include "btc/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

#define LEAF1_ECX_SSSE3    (1u << 9)
#define LEAF1_ECX_SSE41    (1u << 19)
#define LEAF1_ECX_OSXSAVE  (1u << 27)
#define LEAF7_EBX_AVX2     (1u << 5)
#define LEAF7_EBX_AVX512F  (1u << 16)
#define LEAF7_EBX_SHA      (1u << 29)
#define LEAF7_EBX_AVX512BW (1u << 30)
#define LEAF7_EBX_AVX512VL (1u << 31)
#define XCR0_SSE           0x02u
#define XCR0_AVX           0x06u /* with the SSE state */
#define XCR0_AVX512        0xe6u /* with masks and both register halves */

static uint64_t xcr0(void)
{
	uint32_t lo, hi;

	/* Encoded by hand: the mnemonic needs -mxsave, which would let the compiler use it elsewhere. */
	__asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

unsigned cpu_features(void)
{
	const unsigned avx512 = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
	unsigned a, b, c, d, c1, out = 0;
	/* Without XGETBV an x86-64 system still saves the SSE state. */
	uint64_t os = XCR0_SSE;

	if (!__get_cpuid(1, &a, &b, &c1, &d))
		return 0;
	if (c1 & LEAF1_ECX_OSXSAVE)
		os = xcr0();
	if ((os & XCR0_SSE) == 0)
		return 0;
	if ((c1 & LEAF1_ECX_SSSE3) && (c1 & LEAF1_ECX_SSE41))
		out |= CPU_SSE41;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return out;
	if (b & LEAF7_EBX_SHA)
		out |= CPU_SHANI;
	if ((b & LEAF7_EBX_AVX2) && (os & XCR0_AVX) == XCR0_AVX)
		out |= CPU_AVX2;
	if ((b & avx512) == avx512 && (os & XCR0_AVX512) == XCR0_AVX512)
		out |= CPU_AVX512;
	return out;
}

#else

unsigned cpu_features(void)
{
	return 0;
}

#endif
