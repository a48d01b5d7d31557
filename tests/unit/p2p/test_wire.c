/* The codec of the Bitcoin messages, against the vectors and against itself. */
#include "vec.h"

#include <stdlib.h>

#include "btc/cursor.h"
#include "btc/network.h"
#include "btc/sha256.h"
#include "p2p/wire.h"

static enum p2p_type type_of(const char *command)
{
	for (unsigned t = 0; t < P2P_OTHER; t++)
		if (strcmp(p2p_type_name((enum p2p_type)t), command) == 0)
			return (enum p2p_type)t;
	return P2P_OTHER;
}

static void heads_match_the_vectors_both_ways(void **state)
{
	json_t *root = vec_load("p2p.json"), *v;
	json_t *all = json_object_get(json_object_get(root, "p2p"), "messages");
	size_t i;

	(void)state;
	assert_true(json_array_size(all) > 20);
	json_array_foreach(all, i, v)
	{
		const struct network *n = network_by_name(vec_str(v, "network"));
		struct bytes msg = vec_hex(v, "message"), payload = vec_hex(v, "payload");
		enum p2p_type type = type_of(vec_str(v, "command"));
		uint8_t *again = malloc(msg.sz);
		struct p2p_head h;

		assert_int_not_equal(type, P2P_OTHER);
		assert_int_equal(p2p_head_decode(&h, msg.p, n->magic), P2P_OK);
		assert_int_equal(h.type, type);
		assert_int_equal(h.payload_sz, payload.sz);
		memcpy(again + P2P_HEAD_SZ, payload.p, payload.sz);
		assert_int_equal(p2p_seal(again, n->magic, type, payload.sz), msg.sz);
		assert_memory_equal(again, msg.p, msg.sz);
		free(again);
		free(msg.p);
		free(payload.p);
	}
	json_decref(root);
}

/* The payload of the named vector. */
static struct bytes payload_of(const char *name)
{
	json_t *root = vec_load("p2p.json"), *v;
	json_t *all = json_object_get(json_object_get(root, "p2p"), "messages");
	struct bytes b = {0};
	size_t i;

	json_array_foreach(all, i, v) if (strcmp(vec_str(v, "name"), name) == 0) b = vec_hex(v, "payload");
	json_decref(root);
	assert_non_null(b.p);
	return b;
}

static void version_has_every_field_where_the_vector_has_it(void **state)
{
	struct bytes b = payload_of("version");
	uint8_t out[P2P_VERSION_SZ_MAX];
	struct p2p_version v;

	(void)state;
	assert_true(p2p_version_decode(&v, b.p, b.sz));
	assert_int_equal(v.version, 70016);
	assert_int_equal(v.services, P2P_SERVICE_WITNESS);
	assert_int_equal(v.time, 1700000000);
	assert_int_equal(v.recv.services, 9);
	assert_int_equal(v.recv.port, 18444);
	assert_int_equal(v.recv.ip[12], 127);
	assert_int_equal(v.from.services, 8);
	assert_int_equal(v.nonce, 0x0102030405060708);
	assert_string_equal(v.agent, "/scanner:1/");
	assert_int_equal(v.start_height, 0);
	assert_true(v.relay);
	assert_int_equal(p2p_version_encode(out, &v), b.sz);
	assert_memory_equal(out, b.p, b.sz);
	free(b.p);
}

static void version_may_end_after_any_group_of_fields_but_not_inside_one(void **state)
{
	struct bytes b = payload_of("version");
	size_t agent = 80, height = agent + 1 + 11, relay = height + 4;

	(void)state;
	for (size_t sz = 0; sz <= b.sz; sz++) {
		bool want = sz == 46 || sz == 80 || sz == height || sz == relay || sz == relay + 1;
		struct p2p_version v;

		assert_int_equal(p2p_version_decode(&v, vec_guarded(b.p, sz), sz), want);
		if (want && sz <= relay)
			assert_true(v.relay);
		if (want && sz < height)
			assert_int_equal(v.agent_sz, 0);
	}
	free(b.p);
}

static void version_refuses_an_agent_over_256_bytes(void **state)
{
	uint8_t p[600] = {0};
	struct p2p_version v = {.agent_sz = P2P_AGENT_MAX, .relay = true}, back;
	size_t sz;

	(void)state;
	memset(v.agent, 'a', P2P_AGENT_MAX);
	sz = p2p_version_encode(p, &v);
	assert_int_equal(sz, P2P_VERSION_SZ_MAX);
	assert_true(p2p_version_decode(&back, p, sz));
	assert_int_equal(back.agent_sz, P2P_AGENT_MAX);
	store_le16(p + 81, P2P_AGENT_MAX + 1);
	assert_false(p2p_version_decode(&back, p, sizeof(p)));
	store_le16(p + 81, 0xfc); /* not the shortest form */
	assert_false(p2p_version_decode(&back, p, sz));
}

static void getheaders_matches_the_vector(void **state)
{
	struct bytes b = payload_of("getheaders_from_genesis");
	uint8_t out[P2P_GETHEADERS_SZ_MAX];
	struct p2p_getheaders g;

	(void)state;
	assert_true(p2p_getheaders_decode(&g, b.p, b.sz));
	assert_int_equal(g.cnt, 1);
	assert_memory_equal(g.hashes, network_get(NET_MAIN)->genesis_hash.b, HASH_SZ);
	assert_true(hash256_is_zero(&g.stop));
	assert_int_equal(p2p_getheaders_encode(out, &network_get(NET_MAIN)->genesis_hash, 1, NULL), b.sz);
	assert_memory_equal(out, b.p, b.sz);
	for (size_t sz = 0; sz < b.sz; sz++)
		assert_false(p2p_getheaders_decode(&g, vec_guarded(b.p, sz), sz));
	free(b.p);
}

static void headers_match_the_vector_and_refuse_transactions(void **state)
{
	struct bytes b = payload_of("headers_genesis_and_1");
	uint8_t raw[2 * HEADER_SZ], out[3 + 2 * P2P_HEADER_STRIDE];
	struct p2p_headers h;

	(void)state;
	assert_true(p2p_headers_decode(&h, b.p, b.sz));
	assert_int_equal(h.cnt, 2);
	for (unsigned i = 0; i < 2; i++)
		memcpy(raw + i * HEADER_SZ, h.first + i * P2P_HEADER_STRIDE, HEADER_SZ);
	assert_memory_equal(raw, network_get(NET_MAIN)->genesis_header, HEADER_SZ);
	assert_int_equal(p2p_headers_encode(out, raw, 2), b.sz);
	assert_memory_equal(out, b.p, b.sz);
	for (size_t sz = 0; sz < b.sz; sz++)
		assert_false(p2p_headers_decode(&h, vec_guarded(b.p, sz), sz));
	b.p[1 + HEADER_SZ] = 1;
	assert_false(p2p_headers_decode(&h, b.p, b.sz));
	free(b.p);
}

static void a_count_above_the_limit_is_refused_even_when_the_bytes_are_there(void **state)
{
	size_t sz = 3 + (size_t)(P2P_INV_MAX + 1) * P2P_INV_STRIDE;
	uint8_t *p = calloc(1, sz);
	struct p2p_inv inv;
	struct p2p_headers h;

	(void)state;
	p[0] = 0xfd;
	store_le16(p + 1, P2P_INV_MAX);
	assert_true(p2p_inv_decode(&inv, p, sz));
	store_le16(p + 1, P2P_INV_MAX + 1);
	assert_false(p2p_inv_decode(&inv, p, sz));
	store_le16(p + 1, P2P_HEADERS_MAX);
	assert_true(p2p_headers_decode(&h, p, sz));
	store_le16(p + 1, P2P_HEADERS_MAX + 1);
	assert_false(p2p_headers_decode(&h, p, sz));
	free(p);
}

static void inv_and_getdata_match_the_vectors(void **state)
{
	static const struct {
		const char *name;
		uint32_t cnt, type;
	} want[] = {{"getdata_block_stripped", 2, P2P_INV_BLOCK},
		    {"getdata_block_witness", 2, P2P_INV_WITNESS_BLOCK},
		    {"inv_wtx", 1, P2P_INV_WTX},
		    {"inv_tx", 1, P2P_INV_TX},
		    {"notfound", 1, P2P_INV_WTX}};

	(void)state;
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct bytes b = payload_of(want[i].name);
		struct p2p_inv_item item[2];
		uint8_t out[3 + 2 * P2P_INV_STRIDE];
		struct p2p_inv inv;

		assert_true(p2p_inv_decode(&inv, b.p, b.sz));
		assert_int_equal(inv.cnt, want[i].cnt);
		for (uint32_t k = 0; k < inv.cnt; k++) {
			item[k] = p2p_inv_at(&inv, k);
			assert_int_equal(item[k].type, want[i].type);
		}
		assert_int_equal(p2p_inv_encode(out, item, inv.cnt), b.sz);
		assert_memory_equal(out, b.p, b.sz);
		for (size_t sz = 0; sz < b.sz; sz++)
			assert_false(p2p_inv_decode(&inv, vec_guarded(b.p, sz), sz));
		free(b.p);
	}
}

static void bad_heads_get_their_verdict(void **state)
{
	static const struct {
		const char *name;
		enum p2p_verdict want;
	} table[] = {
		{"wrong_checksum", P2P_OK}, /* of the head; stream.h tells the rest */
		{"wrong_magic", P2P_BAD_MAGIC},
		{"length_4000001", P2P_BAD_LENGTH},
		{"length_4000000_header_only", P2P_OK},
		{"command_nonzero_after_nul", P2P_BAD_COMMAND},
		{"command_control_char", P2P_BAD_COMMAND},
	};
	json_t *root = vec_load("p2p.json"), *v;
	json_t *all = json_object_get(json_object_get(root, "p2p"), "bad_messages");
	size_t i, seen = 0;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes msg = vec_hex(v, "message");
		struct p2p_head h;

		for (unsigned k = 0; k < sizeof(table) / sizeof(table[0]); k++) {
			if (strcmp(vec_str(v, "name"), table[k].name) != 0)
				continue;
			assert_int_equal(p2p_head_decode(&h, msg.p, network_get(NET_MAIN)->magic),
					 table[k].want);
			seen++;
		}
		free(msg.p);
	}
	assert_int_equal(seen, json_array_size(all));
	json_decref(root);
}

static void a_reject_of_a_transaction_is_read_and_any_other_is_not(void **state)
{
	/* Its reason is longer than a one-byte length. */
	uint8_t p[3 + 1 + 3 + 300 + HASH_SZ] = {2, 't', 'x', 0x40, 0xfd, 300 & 0xff, 300 >> 8};
	uint8_t *hash = p + sizeof(p) - HASH_SZ;
	struct p2p_reject r;

	(void)state;
	memset(p + 7, '!', 300);
	for (unsigned i = 0; i < HASH_SZ; i++)
		hash[i] = (uint8_t)i;
	assert_true(p2p_reject_decode(&r, p, sizeof(p)));
	assert_int_equal(r.code, 0x40);
	assert_memory_equal(r.txid.b, hash, HASH_SZ);
	for (size_t sz = 0; sz < sizeof(p); sz++)
		assert_false(p2p_reject_decode(&r, p, sz));
	p[1] = 'x';
	assert_false(p2p_reject_decode(&r, p, sizeof(p)));
	assert_false(p2p_reject_decode(&r, (const uint8_t *)"\7version\x11\1x", 11));
}

static void lengths_are_bounded_by_type(void **state)
{
	static const struct {
		enum p2p_type type;
		uint32_t max;
	} bound[] = {{P2P_HEADERS, 162003},   {P2P_INV, 1800003},     {P2P_GETDATA, 1800003},
		     {P2P_NOTFOUND, 1800003}, {P2P_GETHEADERS, 3269}, {P2P_VERSION, 344},
		     {P2P_PING, 8},           {P2P_PONG, 8},          {P2P_FEEFILTER, 8},
		     {P2P_SENDCMPCT, 9},      {P2P_ADDR, 30003},      {P2P_BLOCK, 4000000},
		     {P2P_TX, 4000000},       {P2P_VERACK, 0},        {P2P_REJECT, 4000000}};
	const uint8_t *magic = network_get(NET_MAIN)->magic;

	(void)state;
	for (unsigned i = 0; i < sizeof(bound) / sizeof(bound[0]); i++) {
		uint8_t head[P2P_HEAD_SZ] = {0};
		struct p2p_head h;

		memcpy(head, magic, 4);
		strcpy((char *)head + 4, p2p_type_name(bound[i].type));
		store_le32(head + 16, bound[i].max);
		assert_int_equal(p2p_head_decode(&h, head, magic), P2P_OK);
		store_le32(head + 16, bound[i].max + 1);
		assert_int_equal(p2p_head_decode(&h, head, magic), P2P_BAD_LENGTH);
	}
}

static void magic_of_a_signet_is_the_hash_of_its_challenge(void **state)
{
	json_t *root = vec_load("p2p.json"), *v;
	json_t *all = json_object_get(json_object_get(root, "p2p"), "signet_magic");
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes challenge = vec_hex(v, "challenge"), magic = vec_hex(v, "magic");
		uint8_t buf[1024];
		struct wr w = wr_of(buf, sizeof(buf));
		uint8_t sum[4];

		wr_var_bytes(&w, challenge.p, challenge.sz);
		assert_true(wr_ok(&w));
		p2p_checksum(sum, buf, w.sz);
		assert_memory_equal(sum, magic.p, 4);
		if (i == 0)
			assert_memory_equal(network_get(NET_SIGNET)->magic, magic.p, 4);
		free(challenge.p);
		free(magic.p);
	}
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_match_the_vectors_both_ways),
		cmocka_unit_test(version_has_every_field_where_the_vector_has_it),
		cmocka_unit_test(version_may_end_after_any_group_of_fields_but_not_inside_one),
		cmocka_unit_test(version_refuses_an_agent_over_256_bytes),
		cmocka_unit_test(getheaders_matches_the_vector),
		cmocka_unit_test(headers_match_the_vector_and_refuse_transactions),
		cmocka_unit_test(a_count_above_the_limit_is_refused_even_when_the_bytes_are_there),
		cmocka_unit_test(inv_and_getdata_match_the_vectors),
		cmocka_unit_test(bad_heads_get_their_verdict),
		cmocka_unit_test(a_reject_of_a_transaction_is_read_and_any_other_is_not),
		cmocka_unit_test(lengths_are_bounded_by_type),
		cmocka_unit_test(magic_of_a_signet_is_the_hash_of_its_challenge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
