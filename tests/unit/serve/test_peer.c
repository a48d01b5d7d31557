/* The node's protocol over a wire that the test holds: what goes in, what comes out, and how much fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "fixture.h"
#include "serve/node.h"
#include "synth/breach.h"

/* --- the wire ------------------------------------------------------------------------------------------------- */

struct net_conn {
	uint8_t *out;
	size_t sz, room; /* sent so far, and how much more net_send takes */
	size_t at;       /* read by the test so far */
	size_t unsent;   /* what net_unsent says */
	size_t consumed;
	bool aborted;
	struct peer *peer;
};

size_t net_send(struct net_conn *c, const void *p, size_t sz)
{
	if (sz > c->room)
		sz = c->room;
	c->out = realloc(c->out, c->sz + sz + 1);
	assert_non_null(c->out);
	memcpy(c->out + c->sz, p, sz);
	c->sz += sz;
	c->room -= sz;
	return sz;
}

size_t net_unsent(const struct net_conn *c)
{
	return c->unsent;
}

void net_consumed(struct net_conn *c, size_t sz)
{
	c->consumed += sz;
}

void net_abort(struct net_conn *c)
{
	c->aborted = true;
}

void net_peer_addr(const struct net_conn *c, struct net_addr *a)
{
	(void)c;
	memset(a, 0, sizeof(*a));
}

void net_addr_format(char out[NET_ADDR_TEXT_SZ], const struct net_addr *a)
{
	(void)a;
	strcpy(out, "test");
}

const char *net_close_reason_name(enum net_close_reason r)
{
	(void)r;
	return "test";
}

/* --- a node and its peers ------------------------------------------------------------------------------------- */

struct lab {
	struct fixture f;
	struct node n;
	const struct network *net;
};

static void lab_open(struct lab *l, uint32_t blocks, const struct synth_reorg *reorg, uint32_t known)
{
	char why[CHAINSET_WHY_SZ];
	const char *path;

	memset(l, 0, sizeof(*l));
	fixture_make(&l->f, blocks, 40, reorg);
	path = l->f.path;
	l->net = network_get(NET_REGTEST);
	l->n.chain = chainset_open(&path, 1, NULL, 0, why);
	assert_non_null(l->n.chain);
	l->n.pool = mempool_new();
	l->n.report = report_open(NULL);
	l->n.tx = calloc(BLOCK_TX_MAX, sizeof(*l->n.tx));
	while (chainset_known(l->n.chain) < known)
		chainset_learn(l->n.chain);
}

static void hang_up(struct net_conn *c)
{
	peer_ops.on_closed(c->peer, c, NET_CLOSED_REMOTE);
	free(c->out);
}

static void lab_close(struct lab *l)
{
	chainset_close(l->n.chain);
	mempool_free(l->n.pool);
	report_close(l->n.report);
	free(l->n.tx);
	fixture_free(&l->f);
}

static void say(struct net_conn *c, enum p2p_type type, const void *payload, size_t sz)
{
	uint8_t *msg = malloc(P2P_HEAD_SZ + sz);

	assert_non_null(msg);
	if (sz)
		memcpy(msg + P2P_HEAD_SZ, payload, sz);
	p2p_seal(msg, network_get(NET_REGTEST)->magic, type, sz);
	peer_ops.on_data(c->peer, c, msg, P2P_HEAD_SZ + sz);
	free(msg);
}

/* The next whole message that came out; NULL if there is none. */
static const uint8_t *hear(struct net_conn *c, enum p2p_type *type, size_t *sz)
{
	struct p2p_head h;
	const uint8_t *p = c->out + c->at;
	uint8_t sum[4];

	if (c->sz - c->at < P2P_HEAD_SZ)
		return NULL;
	assert_int_equal(p2p_head_decode(&h, p, network_get(NET_REGTEST)->magic), P2P_OK);
	if (c->sz - c->at < P2P_HEAD_SZ + h.payload_sz)
		return NULL;
	p2p_checksum(sum, p + P2P_HEAD_SZ, h.payload_sz);
	assert_memory_equal(sum, h.checksum, 4);
	*type = h.type;
	*sz = h.payload_sz;
	c->at += P2P_HEAD_SZ + h.payload_sz;
	return p + P2P_HEAD_SZ;
}

static const uint8_t *hear_type(struct net_conn *c, enum p2p_type want, size_t *sz)
{
	enum p2p_type type = P2P_OTHER;
	const uint8_t *p = hear(c, &type, sz);

	assert_non_null(p);
	assert_string_equal(p2p_type_name(type), p2p_type_name(want));
	return p;
}

static void hear_nothing(struct net_conn *c)
{
	enum p2p_type type;
	size_t sz;

	assert_null(hear(c, &type, &sz));
}

/* Connects and shakes hands; the node's own messages of that are taken. */
static void shake_hands(struct lab *l, struct net_conn *c, bool wtxid)
{
	static const enum p2p_type expected[] = {P2P_VERSION,   P2P_WTXIDRELAY, P2P_SENDADDRV2, P2P_VERACK,
						 P2P_SENDCMPCT, P2P_PING,       P2P_FEEFILTER};
	struct p2p_version v = {.version = P2P_PROTOCOL, .services = P2P_SERVICE_WITNESS, .relay = true};
	uint8_t out[P2P_VERSION_SZ_MAX];
	size_t sz;

	memset(c, 0, sizeof(*c));
	c->room = SIZE_MAX;
	c->peer = peer_accept(&l->n, NULL);
	assert_non_null(c->peer);
	peer_ops.on_connected(c->peer, c);
	say(c, P2P_PING, "12345678", 8); /* before the handshake: not answered */
	say(c, P2P_VERSION, out, p2p_version_encode(out, &v));
	if (wtxid)
		say(c, P2P_WTXIDRELAY, NULL, 0);
	say(c, P2P_VERACK, NULL, 0);
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		hear_type(c, expected[i], &sz);
	hear_nothing(c);
}

/* Asks for headers after the given block; returns how many came. */
static uint32_t ask_headers(struct net_conn *c, const struct hash256 *after, struct p2p_headers *h)
{
	uint8_t out[P2P_GETHEADERS_SZ_MAX];
	const uint8_t *p;
	size_t sz;

	say(c, P2P_GETHEADERS, out, p2p_getheaders_encode(out, after, 1, NULL));
	p = hear_type(c, P2P_HEADERS, &sz);
	assert_true(p2p_headers_decode(h, p, sz));
	return h->cnt;
}

static void ask_data(struct net_conn *c, const struct p2p_inv_item *items, uint32_t cnt)
{
	uint8_t out[3 + 8 * P2P_INV_STRIDE];

	assert_true(cnt <= 8);
	say(c, P2P_GETDATA, out, p2p_inv_encode(out, items, cnt));
}

static struct p2p_inv_item item(uint32_t type, const struct hash256 *hash)
{
	return (struct p2p_inv_item){type, *hash};
}

/* --- tests ---------------------------------------------------------------------------------------------------- */

static void headers_answer_from_the_fork_and_from_the_lowest_block(void **state)
{
	static const struct synth_reorg reorg = {10, 3, 1};
	struct lab l;
	struct net_conn c;
	struct p2p_headers h;
	struct hash256 unknown = {{1}};

	(void)state;
	lab_open(&l, 12, &reorg, 15);
	shake_hands(&l, &c, false);
	assert_int_equal(ask_headers(&c, &l.net->genesis_hash, &h), 12);
	assert_memory_equal(h.first, l.f.block[0].p, HEADER_SZ);
	assert_memory_equal(h.first + 7 * P2P_HEADER_STRIDE, l.f.block[10].p, HEADER_SZ);
	assert_int_equal(ask_headers(&c, &l.f.block[14].hash, &h), 0);
	assert_int_equal(ask_headers(&c, &l.f.block[6].hash, &h), 5);
	/* Only hashes off the active chain: all of it. */
	assert_int_equal(ask_headers(&c, &l.f.block[8].hash, &h), 12);
	assert_int_equal(ask_headers(&c, &unknown, &h), 12);
	hang_up(&c);
	lab_close(&l);
}

static void blocks_come_in_the_order_asked_and_unknown_ones_in_silence(void **state)
{
	struct lab l;
	struct net_conn c;
	struct hash256 unknown = {{1}};
	struct p2p_inv_item want[4];
	const uint8_t *p;
	size_t sz;

	(void)state;
	lab_open(&l, 8, NULL, 6);
	shake_hands(&l, &c, false);
	want[0] = item(P2P_INV_WITNESS_BLOCK, &l.f.block[5].hash);
	want[1] = item(P2P_INV_WITNESS_BLOCK, &unknown);
	want[2] = item(P2P_INV_WITNESS_BLOCK, &l.f.block[6].hash); /* not learned yet */
	want[3] = item(P2P_INV_WITNESS_BLOCK, &l.f.block[0].hash);
	ask_data(&c, want, 4);
	p = hear_type(&c, P2P_BLOCK, &sz);
	assert_int_equal(sz, l.f.block[5].sz);
	assert_memory_equal(p, l.f.block[5].p, sz);
	p = hear_type(&c, P2P_BLOCK, &sz);
	assert_int_equal(sz, l.f.block[0].sz);
	assert_memory_equal(p, l.f.block[0].p, sz);
	hear_nothing(&c);
	hang_up(&c);
	lab_close(&l);
}

static void a_stripped_block_has_the_same_transactions_without_witness(void **state)
{
	static struct tx_view full[BLOCK_TX_MAX], bare[BLOCK_TX_MAX];
	struct lab l;
	struct net_conn c;
	struct p2p_inv_item want;
	struct block_view a, b;
	const uint8_t *p;
	size_t sz;

	(void)state;
	lab_open(&l, 1, NULL, 1);
	shake_hands(&l, &c, false);
	want = item(P2P_INV_BLOCK, &l.f.block[0].hash);
	ask_data(&c, &want, 1);
	p = hear_type(&c, P2P_BLOCK, &sz);
	assert_int_equal(block_parse(l.f.block[0].p, l.f.block[0].sz, &a, full), PARSE_OK);
	assert_int_equal(block_parse(p, sz, &b, bare), PARSE_OK);
	assert_true(a.segwit_tx_cnt > 0);
	assert_int_equal(b.segwit_tx_cnt, 0);
	assert_int_equal(b.total_sz, a.stripped_sz);
	for (uint32_t i = 0; i < a.tx_cnt; i++)
		assert_int_equal(bare[i].sz, tx_view_stripped_sz(&full[i]));
	hang_up(&c);
	lab_close(&l);
}

static void nothing_is_looked_at_behind_a_request_that_is_being_served(void **state)
{
	struct lab l;
	struct net_conn c;
	struct p2p_inv_item want;
	size_t sz, before, whole;

	(void)state;
	lab_open(&l, 2, NULL, 2);
	shake_hands(&l, &c, false);
	want = item(P2P_INV_WITNESS_BLOCK, &l.f.block[0].hash);
	c.room = 1000;
	ask_data(&c, &want, 1);
	before = c.consumed;
	say(&c, P2P_PING, "12345678", 8);
	assert_int_equal(c.consumed, before); /* the window stays shut by as much */
	whole = P2P_HEAD_SZ + l.f.block[0].sz;
	while (c.sz - c.at < whole) {
		assert_int_equal(c.room, 0);
		c.room = 3000;
		peer_ops.on_sendable(c.peer, &c);
	}
	c.room = SIZE_MAX;
	peer_ops.on_sendable(c.peer, &c);
	hear_type(&c, P2P_BLOCK, &sz);
	hear_type(&c, P2P_PONG, &sz);
	assert_true(c.consumed > before);
	hang_up(&c);
	lab_close(&l);
}

static void a_reorg_is_announced_from_the_fork(void **state)
{
	static const struct synth_reorg reorg = {10, 3, 1};
	struct lab l;
	struct net_conn c;
	struct p2p_headers h;
	const uint8_t *p;
	size_t sz;

	(void)state;
	lab_open(&l, 12, &reorg, 10);
	shake_hands(&l, &c, false);
	say(&c, P2P_SENDHEADERS, NULL, 0);
	assert_int_equal(ask_headers(&c, &l.net->genesis_hash, &h), 10);
	while (!chainset_learn(l.n.chain))
		;
	c.peer->tip_news = true;
	peer_flush(c.peer);
	p = hear_type(&c, P2P_HEADERS, &sz);
	assert_true(p2p_headers_decode(&h, p, sz));
	assert_int_equal(h.cnt, 4);
	assert_memory_equal(h.first, l.f.block[10].p, HEADER_SZ);
	hang_up(&c);
	lab_close(&l);
}

static void a_tip_that_does_not_link_is_announced_by_inv(void **state)
{
	struct lab l;
	struct net_conn c;
	struct p2p_inv inv;
	struct p2p_headers h;
	const uint8_t *p;
	size_t sz;

	(void)state;
	lab_open(&l, 20, NULL, 2);
	shake_hands(&l, &c, false);
	assert_int_equal(ask_headers(&c, &l.net->genesis_hash, &h), 2);
	say(&c, P2P_SENDHEADERS, NULL, 0);
	for (unsigned i = 0; i < 9; i++) /* one more than headers announce */
		chainset_learn(l.n.chain);
	c.peer->tip_news = true;
	peer_flush(c.peer);
	p = hear_type(&c, P2P_INV, &sz);
	assert_true(p2p_inv_decode(&inv, p, sz));
	assert_int_equal(p2p_inv_at(&inv, 0).type, P2P_INV_BLOCK);
	assert_memory_equal(p2p_inv_at(&inv, 0).hash.b, l.f.block[10].hash.b, HASH_SZ);
	hang_up(&c);
	lab_close(&l);
}

static void a_transaction_goes_to_the_other_peers_and_is_served(void **state)
{
	static struct breach b;
	struct lab l;
	struct net_conn from, to, wtx;
	struct p2p_inv inv;
	struct p2p_inv_item want[2];
	struct hash256 unknown = {{9}};
	const uint8_t *p;
	size_t sz;

	(void)state;
	breach_make(&b, 1, 1);
	lab_open(&l, 2, NULL, 2);
	shake_hands(&l, &from, false);
	shake_hands(&l, &to, false);
	shake_hands(&l, &wtx, true);
	say(&from, P2P_TX, b.penalty, b.penalty_sz);
	say(&from, P2P_TX, b.penalty, b.penalty_sz);
	say(&from, P2P_TX, b.penalty, b.penalty_sz - 1);
	hear_nothing(&from);
	assert_int_equal(l.n.stats.txs_in, 3);
	assert_int_equal(l.n.stats.txs_new, 1);
	p = hear_type(&to, P2P_INV, &sz);
	assert_true(p2p_inv_decode(&inv, p, sz));
	assert_int_equal(inv.cnt, 1);
	assert_memory_equal(p2p_inv_at(&inv, 0).hash.b, b.penalty_txid.b, HASH_SZ);
	hear_nothing(&to);
	p = hear_type(&wtx, P2P_INV, &sz);
	assert_true(p2p_inv_decode(&inv, p, sz));
	assert_int_equal(p2p_inv_at(&inv, 0).type, P2P_INV_WTX);
	want[0] = item(P2P_INV_WITNESS_TX, &b.penalty_txid);
	want[1] = item(P2P_INV_WITNESS_TX, &unknown);
	ask_data(&to, want, 2);
	p = hear_type(&to, P2P_TX, &sz);
	assert_int_equal(sz, b.penalty_sz);
	assert_memory_equal(p, b.penalty, sz);
	hear_type(&to, P2P_NOTFOUND, &sz);
	hang_up(&from);
	hang_up(&to);
	hang_up(&wtx);
	lab_close(&l);
}

/* The report's lines of that event; each has the wanted time. */
static unsigned report_lines(const char *path, const char *event, const char *at)
{
	char line[1024];
	unsigned cnt = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, event)) {
			assert_non_null(strstr(line, at));
			cnt++;
		}
	fclose(f);
	return cnt;
}

static void a_block_is_reported_sent_when_its_last_byte_has_left(void **state)
{
	struct lab l;
	struct net_conn c;
	struct p2p_inv_item want[2];
	char path[64];

	(void)state;
	lab_open(&l, 3, NULL, 3);
	report_close(l.n.report);
	snprintf(path, sizeof(path), "%s/report", l.f.dir);
	l.n.report = report_open(path);
	assert_non_null(l.n.report);
	shake_hands(&l, &c, false);
	want[0] = item(P2P_INV_WITNESS_BLOCK, &l.f.block[0].hash);
	want[1] = item(P2P_INV_WITNESS_BLOCK, &l.f.block[1].hash);
	ask_data(&c, want, 2);
	c.unsent = P2P_HEAD_SZ + l.f.block[1].sz + 1; /* the last byte of the first is not out */
	peer_report_sent(c.peer, 11);
	assert_int_equal(report_lines(path, "block_sent", ""), 0);
	c.unsent--;
	peer_report_sent(c.peer, 22);
	assert_int_equal(report_lines(path, "block_sent", "\"mono_ns\": 22,"), 1);
	c.unsent = 1;
	peer_report_sent(c.peer, 33);
	assert_int_equal(report_lines(path, "block_sent", "\"mono_ns\": 22,"), 1);
	c.unsent = 0;
	peer_report_sent(c.peer, 44);
	peer_report_sent(c.peer, 55);
	assert_int_equal(report_lines(path, "\"height\": 2", "\"mono_ns\": 44,"), 1);
	assert_int_equal(report_lines(path, "block_sent", ""), 2);
	hang_up(&c);
	remove(path);
	lab_close(&l);
}

static void rubbish_is_dropped(void **state)
{
	struct lab l;
	struct net_conn c;
	uint8_t junk[64] = {0};

	(void)state;
	lab_open(&l, 1, NULL, 1);
	shake_hands(&l, &c, false);
	peer_ops.on_data(c.peer, &c, junk, sizeof(junk));
	assert_true(c.aborted);
	hang_up(&c);
	shake_hands(&l, &c, false);
	say(&c, P2P_GETDATA, "\xfe\xff\xff\xff\xff", 5);
	assert_true(c.aborted);
	hang_up(&c);
	lab_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_answer_from_the_fork_and_from_the_lowest_block),
		cmocka_unit_test(blocks_come_in_the_order_asked_and_unknown_ones_in_silence),
		cmocka_unit_test(a_stripped_block_has_the_same_transactions_without_witness),
		cmocka_unit_test(nothing_is_looked_at_behind_a_request_that_is_being_served),
		cmocka_unit_test(a_reorg_is_announced_from_the_fork),
		cmocka_unit_test(a_tip_that_does_not_link_is_announced_by_inv),
		cmocka_unit_test(a_transaction_goes_to_the_other_peers_and_is_served),
		cmocka_unit_test(a_block_is_reported_sent_when_its_last_byte_has_left),
		cmocka_unit_test(rubbish_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
