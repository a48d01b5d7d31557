/* link_from_control.c - what the dataplane reads: frames, then the handlers of topo/link_in.c.  However the stream is
   cut, and whenever a ring has no room, the same edits and commands come out in the same order, each one legal in its
   state.  Input: link_stream.h. */
#include <stdarg.h>
#include <stdlib.h>

#include "link_stream.h"
#include "topo/link_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* What the handlers reach: the scan and the net lcore, as the main lcore sees them. */
static struct outside {
	uint64_t digest;
	uint32_t busy; /* refuses now and then, by this seed; 0: never */
	bool started;
	unsigned edits, commands;
} out;

static bool refuse(void)
{
	if (out.busy == 0)
		return false;
	out.busy = out.busy * 1664525u + 1013904223u;
	return (out.busy >> 20) % 3 == 0;
}

bool scan_edit(struct scan *s, const struct scan_edit *e)
{
	(void)s;
	if (refuse())
		return false;
	if (e->kind == SCAN_LOAD || e->kind == SCAN_EXPECT || e->kind == SCAN_LOADED)
		must(!out.started);
	else
		must(out.started && (e->kind == SCAN_ADD || e->kind == SCAN_DEL || e->kind == SCAN_EVICT));
	link_note(&out.digest, &e->kind, sizeof(e->kind));
	link_note(&out.digest, &e->cookie, sizeof(e->cookie));
	link_note(&out.digest, &e->height, sizeof(e->height));
	link_note(&out.digest, &e->locator, sizeof(e->locator));
	out.edits++;
	return true;
}

bool scan_edits_done(const struct scan *s)
{
	(void)s;
	return !refuse();
}

bool net_role_command(struct net_role *r, const struct net_cmd *c)
{
	(void)r;
	if (refuse())
		return false;
	link_note(&out.digest, &c->kind, sizeof(c->kind));
	link_note(&out.digest, &c->cookie, sizeof(c->cookie));
	if (c->data_sz > 0)
		link_note(&out.digest, c->data, c->data_sz);
	switch (c->kind) {
	case NET_CMD_START:
		must(!out.started && c->data_sz == (size_t)c->start.header_cnt * HEADER_SZ);
		link_note(&out.digest, &c->start.root_height, sizeof(c->start.root_height));
		out.started = true;
		break;
	case NET_CMD_BROADCAST:
		must(out.started && c->data_sz > 0 && c->data_sz <= BLOCK_SZ_MAX);
		link_note(&out.digest, &c->txid, sizeof(c->txid));
		break;
	case NET_CMD_STATS:
	case NET_CMD_STALE:
		must(out.started);
		break;
	case NET_CMD_STOP:
		must(false);
	}
	free(c->data);
	out.commands++;
	return true;
}

void link_window_ack(struct link_role *r, const struct hash256 *hash)
{
	(void)r;
	must(out.started);
	link_note(&out.digest, hash, sizeof(*hash));
}

void link_log(const char *level, const char *event, const char *fmt, ...)
{
	(void)level;
	(void)event;
	(void)fmt;
}

/* --- records ------------------------------------------------------------------------------------------------ */

static enum link_type pick(uint8_t byte, size_t *fixed_sz)
{
	static const size_t sizes[] = {sizeof(struct link_c_hello),   sizeof(struct link_watch_load),
				       sizeof(struct link_start),     sizeof(struct link_watch_add),
				       sizeof(struct link_watch_del), sizeof(struct link_block_ack),
				       sizeof(struct link_broadcast), sizeof(struct link_stats_get)};

	if (byte >= 252) {
		*fixed_sz = sizeof(struct link_stale_scan);
		return LINK_STALE_SCAN;
	}
	*fixed_sz = sizes[byte % 8];
	return (enum link_type)(LINK_C_HELLO + byte % 8);
}

static void mend(void *arg, struct link_head *rec, size_t tail_sz, uint8_t options)
{
	void *p = rec;

	(void)arg;
	switch ((enum link_type)rec->type) {
	case LINK_C_HELLO:
		((struct link_c_hello *)p)->magic = LINK_MAGIC;
		((struct link_c_hello *)p)->version = LINK_VERSION;
		((struct link_c_hello *)p)->network = NET_REGTEST;
		rec->sz = sizeof(struct link_c_hello);
		break;
	case LINK_WATCH_LOAD:
		((struct link_watch_load *)p)->cnt = (uint32_t)(tail_sz / sizeof(struct locator));
		rec->sz -= tail_sz % sizeof(struct locator);
		break;
	case LINK_START:
		((struct link_start *)p)->mode = options >> 1 & 1;
		((struct link_start *)p)->header_cnt = (uint32_t)(tail_sz / HEADER_SZ);
		rec->sz -= tail_sz % HEADER_SZ;
		break;
	case LINK_BROADCAST:
		((struct link_broadcast *)p)->raw_sz = (uint32_t)tail_sz;
		break;
	default:
		rec->sz -= (uint32_t)tail_sz;
	}
}

/* --- one session -------------------------------------------------------------------------------------------- */

/* How it ended, in the digest. */
static void run(const uint8_t *p, size_t sz, uint32_t seed)
{
	static struct options o;
	static struct link_reader in; /* megabytes, so they are kept */
	struct link_role r = {.o = &o, .state = LINK_HELLO};
	bool good = true;
	enum link_state end;

	o = (struct options){.network = network_get(NET_REGTEST), .recent_blocks = 6, .window = 8};
	out = (struct outside){.digest = 0xcbf29ce484222325u, .busy = seed};
	must(in.buf != NULL || link_reader_init(&in));
	link_reader_reset(&in);
	r.in = in;
	for (size_t at = 0; good && at < sz;) {
		size_t piece = link_stream_piece(&seed, sz - at), room;
		uint8_t *to = link_reader_room(&r.in, &room);
		bool worked = false;

		must(room > 0);
		if (piece > room)
			piece = room;
		memcpy(to, p + at, piece);
		link_reader_took(&r.in, piece);
		at += piece;
		good = link_in_poll(&r, &worked);
		/* Nothing is read while a record waits for room, which comes. */
		for (unsigned n = 0; good && r.pending != NULL; n++) {
			must(n < 1u << 20);
			good = link_in_poll(&r, &worked);
		}
	}
	end = good ? r.state : LINK_END;
	link_note(&out.digest, &end, sizeof(end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	const struct link_parts parts = {.pick = pick, .mend = mend};
	const uint8_t *stream;
	uint64_t whole;
	unsigned edits;

	if (sz < 3)
		return 0;
	sz = link_stream_make(&parts, data, sz, &stream);
	run(stream, sz, 0);
	whole = out.digest;
	edits = out.edits;
	run(stream, sz, 1u + data[1] + 256u * data[2]);
	must(out.digest == whole && out.edits == edits);
	return 0;
}
