/* log.h - the daemon's log: one event, one line, one write.

   Form     2026-01-02T03:04:05.678Z level=info event=tower_ready msg="Tower ready" api=127.0.0.1:9814
            Time is UTC.  `event` is a stable snake_case name that scripts may match; `msg` is for people; then the
            event's own keys.
   Hostile  Values may come from clients, peers and nodes.  Whatever is in them, an event stays one line of
            printable ASCII: quotes and backslashes are escaped, every other byte outside 0x20..0x7e becomes \xNN,
            a long value is cut (and ends in "...").  Event names and keys are the program's own literals.
   Secrets  Never give a key, a decrypted blob, a request body or a password to a log call (invariant I7).
   Threads  Any thread, after log_open and before log_close.  Lines of different threads never mix.
   Errors   A line that cannot be written is dropped and counted; logging never fails its caller. */
#ifndef VIGIL_LOG_LOG_H
#define VIGIL_LOG_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG, LOG_LVL_CNT };

#define LOG_LINE_MAX  4096u /* bytes of a whole line; what does not fit is cut and marked */
#define LOG_VALUE_MAX 1024u /* bytes taken of one value, before escaping */

const char *log_level_name(enum log_level l);
/* False if name is none of error, warn, info, debug. */
bool log_level_parse(enum log_level *out, const char *name);

/* Starts logging at `level` to the file `path` (appended to, created with mode 0600), or to standard error if path
   is NULL or empty.  0 or -errno.  Before log_open, lines go to standard error at level info. */
int log_open(const char *path, enum log_level level);
/* Opens the file again under its name, for log rotation.  0, or -errno and the old file stays in use. */
int log_reopen(void);
void log_close(void);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level l);
/* Around a burst of lines: from true to false lines of info and debug, of any thread, may be written together, in their
   order.  Errors and warnings are written at once, after what came before them.  Short: what is held back is lost when
   the process dies. */
void log_gather(bool on);
/* Lines that could not be written since the start. */
uint64_t log_dropped(void);

/* Text for a terminal: control bytes and every byte above 0x7e are written as in a log line, quotes and backslashes are
   left alone, so that a sentence that quotes something stays readable.  What does not fit out_sz (at least 4) is cut
   and ends in "...".  Returns out.  Any thread. */
char *log_printable(char *out, size_t out_sz, const char *text);

/* --- values ------------------------------------------------------------------------------------------------- */

enum log_kind {
	LOG_KIND_END,
	LOG_KIND_STR,
	LOG_KIND_U64,
	LOG_KIND_I64,
	LOG_KIND_BOOL,
	LOG_KIND_HEX,
	LOG_KIND_HEX_REV
};

struct log_kv {
	const char *key;
	enum log_kind kind;
	size_t sz;
	union {
		const void *p;
		uint64_t u;
		int64_t i;
	};
};

/* NUL-terminated text, bare where it is a plain word, else quoted.  NULL is printed as an empty value. */
static inline struct log_kv log_str(const char *key, const char *s)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_STR, .sz = SIZE_MAX, .p = s};
}

/* Text of sz bytes without a NUL. */
static inline struct log_kv log_text(const char *key, const char *s, size_t sz)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_STR, .sz = sz, .p = s};
}

static inline struct log_kv log_u64(const char *key, uint64_t v)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_U64, .u = v};
}

static inline struct log_kv log_i64(const char *key, int64_t v)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_I64, .i = v};
}

static inline struct log_kv log_bool(const char *key, bool v)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_BOOL, .u = v};
}

/* Lower-case hex of sz bytes (locators, user ids). */
static inline struct log_kv log_hex(const char *key, const void *p, size_t sz)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_HEX, .sz = sz, .p = p};
}

/* 32 bytes in internal order, printed in display order (txids, block hashes: &h->b). */
static inline struct log_kv log_hash(const char *key, const void *hash)
{
	return (struct log_kv){.key = key, .kind = LOG_KIND_HEX_REV, .sz = 32, .p = hash};
}

/* --- events ------------------------------------------------------------------------------------------------- */

/* kv ends with LOG_KIND_END.  Use the macros below. */
void log_write(enum log_level l, const char *event, const char *msg, const struct log_kv *kv);

#define log_at(l, event, msg, ...)                                                                            \
	do {                                                                                                  \
		if (log_enabled(l))                                                                           \
			log_write((l), (event), (msg),                                                        \
				  (const struct log_kv[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_KIND_END}}); \
	} while (0)

/* log_info("block", "Block connected", log_u64("height", h), log_hash("hash", &hash)); */
#define log_error(event, msg, ...) log_at(LOG_LVL_ERROR, event, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(event, msg, ...)  log_at(LOG_LVL_WARN, event, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(event, msg, ...)  log_at(LOG_LVL_INFO, event, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_debug(event, msg, ...) log_at(LOG_LVL_DEBUG, event, msg __VA_OPT__(, ) __VA_ARGS__)

/* The pure part, for tests: formats one line (with its newline) into out[0..LOG_LINE_MAX) and returns its length.
   unix_ms is the time to print. */
size_t log_format(char *out, uint64_t unix_ms, enum log_level l, const char *event, const char *msg,
		  const struct log_kv *kv);

#endif
