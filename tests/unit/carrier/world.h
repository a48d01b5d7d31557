/* world.h - a carrier and up to two scripted nodes on loopback, on one loop that is run in steps. */
#ifndef WORLD_H
#define WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "carrier/carrier.h"
#include "fake_node.h"

#define TX_MAX 64u

struct answers {
	unsigned cnt, way_open_cnt, lost_cnt, back_cnt;
	struct {
		struct hash256 txid;
		struct node_answer a;
		char text[200];
	} of[TX_MAX];
};

struct world {
	uv_loop_t loop;
	uv_timer_t limit;
	struct fake_node node[2];
	struct carrier *carrier;
	struct answers got;
	const struct network *net;
};

/* The first block to scan, for every tower here. */
#define NEXT_HEIGHT 500u

#define CHAIN_OK                                                         \
	"{\"result\":{\"chain\":\"regtest\",\"blocks\":5,\"headers\":5," \
	"\"initialblockdownload\":false},\"error\":null,\"id\":\"vigil\"}"
#define ERROR_OF(code, text)                                                              \
	"{\"result\":null,\"error\":{\"code\":" code ",\"message\":\"" text "\"},\"id\":" \
	"\"vigil\"}"

typedef void (*script_fn)(struct fake_node *, const struct fake_request *, struct fake_reply *);

struct hash256 txid_nr(unsigned i);
bool is_probe(const struct fake_request *q);
void accept_tx(const struct fake_request *q, struct fake_reply *r);
void good_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r);
struct world *world_new(unsigned node_cnt, script_fn a, script_fn b, const char *cookie);
void world_free(struct world *w, unsigned node_cnt);
void submit(struct world *w, unsigned nr);
enum carrier_node_state node_state(struct world *w, unsigned i);
void on_limit(uv_timer_t *t);
extern const struct carrier_hooks hooks;

/* Runs the loop until cond holds; false after ms. */
#define RUN_UNTIL(w, cond, ms)                                  \
	({                                                      \
		bool over_ = false;                             \
		(w)->limit.data = &over_;                       \
		uv_timer_start(&(w)->limit, on_limit, (ms), 0); \
		while (!(cond) && !over_)                       \
			uv_run(&(w)->loop, UV_RUN_ONCE);        \
		uv_timer_stop(&(w)->limit);                     \
		(bool)(cond);                                   \
	})

#endif
