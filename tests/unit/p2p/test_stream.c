/* The message assembler: the same messages however the stream is cut, and a verdict for what is wrong. */
#include "vec.h"

#include <stdlib.h>

#include "btc/network.h"
#include "p2p/stream.h"

#define WANTED (1u << P2P_PING | 1u << P2P_HEADERS | 1u << P2P_VERACK | 1u << P2P_INV)

static const uint8_t *magic(void)
{
	return network_get(NET_REGTEST)->magic;
}

/* What came out of a stream, in one string of bytes that two runs can compare. */
struct seen {
	uint8_t log[1 << 20];
	size_t sz;
	unsigned blocks, messages, skipped;
	enum p2p_verdict verdict;
};

static void note(struct seen *out, uint8_t kind, const uint8_t *p, size_t sz)
{
	assert_true(out->sz + 1 + sz <= sizeof(out->log));
	out->log[out->sz++] = kind;
	if (sz != 0)
		memcpy(out->log + out->sz, p, sz);
	out->sz += sz;
}

/* Feeds p in pieces of 1..piece_max bytes. */
static void run(struct seen *out, const uint8_t *p, size_t sz, uint32_t *rnd, uint32_t piece_max)
{
	static uint8_t block[P2P_PAYLOAD_SZ_MAX];
	struct p2p_stream s;

	memset(out, 0, sizeof(*out));
	p2p_stream_init(&s, magic(), WANTED);
	while (sz > 0 && out->verdict == P2P_OK) {
		size_t piece = 1 + vec_random(rnd) % piece_max, used;
		enum p2p_stream_event e;

		if (piece > sz)
			piece = sz;
		sz -= piece;
		do {
			e = p2p_stream_feed(&s, p, piece, &used);
			p += used;
			piece -= used;
			switch (e) {
			case P2P_STREAM_MORE:
				assert_int_equal(piece, 0);
				break;
			case P2P_STREAM_MESSAGE:
				out->messages++;
				note(out, (uint8_t)s.type, s.payload, s.payload_sz);
				break;
			case P2P_STREAM_BLOCK_HEAD:
				note(out, 'h', s.block_header, HEADER_SZ);
				p2p_stream_block_to(&s, out->blocks % 3 == 2 ? NULL : block);
				break;
			case P2P_STREAM_BLOCK:
				note(out, 'b', block, out->blocks % 3 == 2 ? 0 : s.payload_sz);
				out->blocks++;
				break;
			case P2P_STREAM_SKIPPED:
				out->skipped++;
				note(out, 's', NULL, 0);
				break;
			case P2P_STREAM_BROKEN:
				out->verdict = s.verdict;
				note(out, 'x', NULL, 0);
				break;
			}
		} while (e != P2P_STREAM_MORE && e != P2P_STREAM_BROKEN);
	}
	p2p_stream_free(&s);
}

/* One message with a random payload; returns its size. */
static size_t put(uint8_t *at, enum p2p_type type, size_t payload_sz, uint32_t *rnd)
{
	for (size_t i = 0; i < payload_sz; i++)
		at[P2P_HEAD_SZ + i] = (uint8_t)vec_random(rnd);
	return p2p_seal(at, magic(), type, payload_sz);
}

static size_t put_many(uint8_t *at, uint32_t *rnd)
{
	size_t sz = 0;

	sz += put(at + sz, P2P_VERACK, 0, rnd);
	sz += put(at + sz, P2P_PING, 8, rnd);
	sz += put(at + sz, P2P_ADDR, 3000, rnd);
	for (unsigned i = 0; i < 5; i++) {
		sz += put(at + sz, P2P_BLOCK, 81 + vec_random(rnd) % 20000, rnd);
		sz += put(at + sz, P2P_HEADERS, 1 + vec_random(rnd) % 10000, rnd);
		sz += put(at + sz, P2P_SENDHEADERS, 0, rnd);
	}
	sz += put(at + sz, P2P_VERACK, 0, rnd);
	return sz;
}

static void the_same_messages_come_out_however_the_stream_is_cut(void **state)
{
	static struct seen whole, cut;
	static uint8_t stream[400000];
	uint32_t rnd = 7;
	size_t sz = put_many(stream, &rnd);

	(void)state;
	run(&whole, stream, sz, &rnd, (uint32_t)sz);
	assert_int_equal(whole.verdict, P2P_OK);
	assert_int_equal(whole.blocks, 5);
	assert_int_equal(whole.messages, 8);
	assert_int_equal(whole.skipped, 6);
	for (uint32_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
		run(&cut, stream, sz, &rnd, piece);
		assert_int_equal(cut.sz, whole.sz);
		assert_memory_equal(cut.log, whole.log, whole.sz);
	}
}

static void expect_broken(uint8_t *stream, size_t sz, enum p2p_verdict want)
{
	static struct seen out;
	uint32_t rnd = 1;

	for (uint32_t piece = 1; piece < 100; piece += 33) {
		run(&out, stream, sz, &rnd, piece);
		assert_int_equal(out.verdict, want);
		assert_int_equal(out.messages, 1);
	}
}

static void every_fault_has_its_verdict_after_the_messages_before_it(void **state)
{
	static uint8_t stream[100000];
	uint32_t rnd = 3;
	size_t first = put(stream, P2P_PING, 8, &rnd), sz;
	uint8_t *bad = stream + first;

	(void)state;
	sz = first + put(bad, P2P_INV, 100, &rnd);
	bad[0] ^= 1;
	expect_broken(stream, sz, P2P_BAD_MAGIC);
	bad[0] ^= 1;
	bad[4] = 7;
	expect_broken(stream, sz, P2P_BAD_COMMAND);
	bad[4] = 'i';
	bad[18] = 0xff;
	expect_broken(stream, sz, P2P_BAD_LENGTH);
	bad[18] = 0;
	bad[P2P_HEAD_SZ + 50] ^= 0x80;
	expect_broken(stream, sz, P2P_BAD_CHECKSUM);
	/* What nobody wants is not stored, but is checked all the same. */
	sz = first + put(bad, P2P_TX, 1000, &rnd);
	bad[P2P_HEAD_SZ + 999] ^= 1;
	expect_broken(stream, sz, P2P_BAD_CHECKSUM);
	/* A block shorter than a header and a count cannot be one. */
	sz = first + put(bad, P2P_BLOCK, 80, &rnd);
	expect_broken(stream, sz, P2P_BAD_LENGTH);
}

static void a_block_needs_no_checksum(void **state)
{
	static struct seen out;
	static uint8_t stream[1000];
	uint32_t rnd = 3;
	size_t sz = put(stream, P2P_BLOCK, 500, &rnd);

	(void)state;
	stream[20] ^= 0xff;
	run(&out, stream, sz, &rnd, 77);
	assert_int_equal(out.verdict, P2P_OK);
	assert_int_equal(out.blocks, 1);
}

static void a_head_alone_claims_no_memory(void **state)
{
	uint8_t head[P2P_HEAD_SZ + 16] = {0};
	struct p2p_stream s;
	size_t used;

	(void)state;
	memcpy(head, magic(), 4);
	strcpy((char *)head + 4, "inv");
	head[16] = 0x00, head[17] = 0x00, head[18] = 0x10; /* 1 MB promised */
	p2p_stream_init(&s, magic(), WANTED);
	assert_int_equal(p2p_stream_feed(&s, head, sizeof(head), &used), P2P_STREAM_MORE);
	assert_true(s.buf_cap <= 4096);
	p2p_stream_free(&s);
}

static void a_block_whose_buffer_is_taken_away_passes_unstored(void **state)
{
	uint8_t stream[700], dst[500];
	uint32_t rnd = 5;
	size_t sz = put(stream, P2P_BLOCK, 500, &rnd), used;
	struct p2p_stream s;

	(void)state;
	memset(dst, 0xaa, sizeof(dst));
	p2p_stream_init(&s, magic(), WANTED);
	assert_int_equal(p2p_stream_feed(&s, stream, 200, &used), P2P_STREAM_BLOCK_HEAD);
	p2p_stream_block_to(&s, dst);
	assert_int_equal(p2p_stream_feed(&s, stream + used, 200 - used, &used), P2P_STREAM_MORE);
	p2p_stream_block_forget(&s);
	assert_int_equal(p2p_stream_feed(&s, stream + 200, sz - 200, &used), P2P_STREAM_BLOCK);
	assert_memory_equal(dst, stream + P2P_HEAD_SZ, 200 - P2P_HEAD_SZ);
	for (size_t i = 200 - P2P_HEAD_SZ; i < sizeof(dst); i++)
		assert_int_equal(dst[i], 0xaa);
	p2p_stream_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_messages_come_out_however_the_stream_is_cut),
		cmocka_unit_test(every_fault_has_its_verdict_after_the_messages_before_it),
		cmocka_unit_test(a_block_needs_no_checksum),
		cmocka_unit_test(a_head_alone_claims_no_memory),
		cmocka_unit_test(a_block_whose_buffer_is_taken_away_passes_unstored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
