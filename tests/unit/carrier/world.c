#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static void on_answer(void *arg, const struct hash256 *txid, const struct node_answer *a)
{
	struct world *w = arg;
	unsigned i = w->got.cnt++;

	assert_true(i < TX_MAX);
	w->got.of[i].txid = *txid;
	w->got.of[i].a = *a;
	snprintf(w->got.of[i].text, sizeof(w->got.of[i].text), "%s", a->text);
	w->got.of[i].a.text = w->got.of[i].text;
}

static void on_way_open(void *arg)
{
	((struct world *)arg)->got.way_open_cnt++;
}

static bool next_height(void *arg, uint32_t *height)
{
	(void)arg;
	*height = NEXT_HEIGHT;
	return true;
}

static void on_node_news(void *arg, const struct carrier_node_info *n, bool usable)
{
	struct answers *got = &((struct world *)arg)->got;

	assert_int_equal(usable, n->state == CARRIER_USABLE);
	if (usable)
		got->back_cnt++;
	else
		got->lost_cnt++;
}

const struct carrier_hooks hooks = {
	.answer = on_answer, .way_open = on_way_open, .node_news = on_node_news, .next_height = next_height};

struct hash256 txid_nr(unsigned i)
{
	struct hash256 h = {{0}};

	h.b[0] = (uint8_t)i;
	h.b[31] = 0xaa;
	return h;
}

/* --- answers of a node -------------------------------------------------------------------------------------- */

static char accepted[256];

bool is_probe(const struct fake_request *q)
{
	return strcmp(q->method, "getblockchaininfo") == 0;
}

/* The raw transactions of these tests are one byte, their number. */
void accept_tx(const struct fake_request *q, struct fake_reply *r)
{
	const char *hex = strstr(q->body, "\"params\":[\"");
	char display[HASH_HEX_SZ];
	struct hash256 txid;
	unsigned nr = 0;

	assert_non_null(hex);
	assert_int_equal(sscanf(hex, "\"params\":[\"%2x", &nr), 1);
	txid = txid_nr(nr);
	hash256_to_display(display, &txid);
	snprintf(accepted, sizeof(accepted), "{\"result\":\"%s\",\"error\":null,\"id\":\"vigil\"}", display);
	r->body = accepted;
}

void good_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	(void)n;
	r->status = 200;
	r->body = CHAIN_OK;
	if (!is_probe(q))
		accept_tx(q, r);
}

/* --- the world ---------------------------------------------------------------------------------------------- */

struct world *world_new(unsigned node_cnt, script_fn a, script_fn b, const char *cookie)
{
	struct world *w = calloc(1, sizeof(*w));
	struct carrier_node nodes[2] = {{0}};
	script_fn scripts[2] = {a, b};
	struct carrier_config cfg = {.nodes = nodes, .node_cnt = node_cnt, .timeout_ms = 500, .alarm_ms = 2500};
	const char *why = "";

	uv_loop_init(&w->loop);
	uv_timer_init(&w->loop, &w->limit);
	w->net = cfg.network = network_get(NET_REGTEST);
	for (unsigned i = 0; i < node_cnt; i++) {
		w->node[i].script = scripts[i];
		w->node[i].arg = w;
		fake_node_start(&w->node[i], &w->loop, 0);
		nodes[i] = (struct carrier_node){.host = "127.0.0.1",
						 .port = w->node[i].port,
						 .user = cookie != NULL ? NULL : "us\"er",
						 .password = cookie != NULL ? NULL : "pa:ss",
						 .cookie_path = cookie};
	}
	w->carrier = carrier_new(&cfg, &w->loop, &hooks, w, &why);
	assert_non_null(w->carrier);
	carrier_start(w->carrier);
	return w;
}

void on_limit(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

void world_free(struct world *w, unsigned node_cnt)
{
	carrier_free(w->carrier);
	for (unsigned i = 0; i < node_cnt; i++)
		fake_node_stop(&w->node[i]);
	uv_close((uv_handle_t *)&w->limit, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0); /* every handle was closed */
	free(w);
}

void submit(struct world *w, unsigned nr)
{
	struct hash256 txid = txid_nr(nr);
	uint8_t raw = (uint8_t)nr;

	assert_true(carrier_submit(w->carrier, &txid, &raw, 1));
}

enum carrier_node_state node_state(struct world *w, unsigned i)
{
	struct carrier_node_info info;

	carrier_node_info_get(w->carrier, i, &info);
	return info.state;
}
