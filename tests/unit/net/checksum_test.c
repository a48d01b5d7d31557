/* The fast checksum against an obvious one, and whether lwIP really uses it. */
#include "net/checksum.h"
#include "net/net.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <lwip/inet_chksum.h>

typedef u16_t lwip_sum(const void *p, int sz);

/* RFC 1071 word by word in network order, brought into the order of memory at the end. */
static uint16_t reference(const uint8_t *p, size_t sz)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < sz; i += 2) {
		sum += (uint32_t)p[i] << 8 | (i + 1 < sz ? p[i + 1] : 0);
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return lwip_htons((uint16_t)sum);
}

static uint32_t rng_state = 1;

static uint8_t random_byte(void)
{
	rng_state = rng_state * 1664525u + 1013904223u;
	return (uint8_t)(rng_state >> 24);
}

static void every_alignment_and_size_gives_the_reference_sum(void **state)
{
	static uint8_t buf[64 + 300];

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = random_byte();
	for (size_t at = 0; at < 64; at++)
		for (size_t sz = 0; sz <= 300; sz++)
			assert_int_equal(net_checksum(buf + at, sz), reference(buf + at, sz));
}

static void extreme_words_do_not_lose_a_carry(void **state)
{
	const size_t sz = 1 << 20;
	uint8_t *buf = malloc(sz);

	(void)state;
	assert_non_null(buf);
	memset(buf, 0xff, sz);
	for (size_t cut = 0; cut < 70; cut++)
		assert_int_equal(net_checksum(buf, sz - cut), reference(buf, sz - cut));
	memset(buf, 0, sz);
	assert_int_equal(net_checksum(buf, sz), 0);
	for (size_t i = 0; i < sz; i++)
		buf[i] = random_byte();
	for (size_t cut = 0; cut < 70; cut++)
		assert_int_equal(net_checksum(buf + cut, sz - cut), reference(buf + cut, sz - cut));
	free(buf);
}

/* The reads must stay inside: under ASan this fails for one byte too many. */
static void nothing_outside_of_the_bytes_is_read(void **state)
{
	(void)state;
	for (size_t sz = 1; sz < 100; sz++) {
		uint8_t *p = malloc(sz);

		assert_non_null(p);
		memset(p, 0x5a, sz);
		assert_int_equal(net_checksum(p, sz), reference(p, sz));
		free(p);
	}
}

/* The first definition in the order in which the dynamic linker looks is the one that lwIP gets. */
static void lwip_is_bound_to_our_definitions(void **state)
{
	static const char *const name[] = {"lwip_standard_chksum", "sys_arch_protect", "sys_arch_unprotect",
					   "sys_now", "tcp_next_iss"};
	Dl_info ours, theirs;

	(void)state;
	assert_int_not_equal(dladdr((void *)(uintptr_t)lwip_is_bound_to_our_definitions, &ours), 0);
	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		assert_int_not_equal(dladdr(dlsym(RTLD_DEFAULT, name[i]), &theirs), 0);
		assert_ptr_equal(theirs.dli_fbase, ours.dli_fbase);
	}
}

static double gbytes_per_s(lwip_sum *f, const uint8_t *p, int sz)
{
	enum { ROUNDS = 20000 };
	struct timespec a, b;
	volatile u16_t sink = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < ROUNDS; i++)
		sink = (u16_t)(sink + f(p, sz));
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (double)sz * ROUNDS / ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec));
}

static u16_t ours_through_lwip(const void *p, int sz)
{
	return inet_chksum(p, (u16_t)sz);
}

static void lwip_s_own_sum_agrees(void **state)
{
	lwip_sum *own = (lwip_sum *)(uintptr_t)dlsym(RTLD_NEXT, "lwip_standard_chksum");
	static uint8_t buf[2048];

	(void)state;
	assert_non_null(own);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = random_byte();
	for (int at = 0; at < 8; at++)
		for (int sz = 1; sz < 1600; sz += 13) {
			assert_int_equal(own(buf + at, sz), net_checksum(buf + at, (size_t)sz));
			assert_int_equal(inet_chksum(buf + at, (u16_t)sz),
					 (u16_t)~net_checksum(buf + at, (size_t)sz));
		}
	printf("# 1460 bytes: lwIP's own %.1f GB/s, through lwIP now %.1f GB/s\n",
	       gbytes_per_s(own, buf + 34, 1460), gbytes_per_s(ours_through_lwip, buf + 34, 1460));
}

/* Takes net.c into the program, as every user of net does. */
static void reasons_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < NET_CLOSE_REASON_CNT; i++)
		assert_string_not_equal(net_close_reason_name((enum net_close_reason)i), "?");
	assert_string_equal(net_close_reason_name(NET_CLOSE_REASON_CNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_alignment_and_size_gives_the_reference_sum),
		cmocka_unit_test(extreme_words_do_not_lose_a_carry),
		cmocka_unit_test(nothing_outside_of_the_bytes_is_read),
		cmocka_unit_test(lwip_is_bound_to_our_definitions),
		cmocka_unit_test(lwip_s_own_sum_agrees),
		cmocka_unit_test(reasons_have_names),
	};

	return cmocka_run_group_tests_name("net/checksum", tests, NULL, NULL);
}
