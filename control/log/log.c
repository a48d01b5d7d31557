#include "log/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[LOG_LVL_CNT] = {"error", "warn", "info", "debug"};

#define GATHER_SZ (32u * 1024u)

static struct {
	pthread_mutex_t lock; /* guards what is not atomic; held over the write, so that lines never mix */
	bool gathering;
	size_t gathered_sz;
	unsigned gathered_cnt;
	char gathered[GATHER_SZ];
	int fd;
	char *path; /* NULL: standard error */
	atomic_int level;
	_Atomic uint64_t dropped;
} lg = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .level = LOG_LVL_INFO};

const char *log_level_name(enum log_level l)
{
	return l < LOG_LVL_CNT ? level_names[l] : "?";
}

bool log_level_parse(enum log_level *out, const char *name)
{
	for (unsigned i = 0; i < LOG_LVL_CNT; i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static_assert(LOG_LINE_MAX <= GATHER_SZ, "room for every line");

/* With the lock held. */
static void lines_write(const char *p, size_t sz, unsigned lines)
{
	while (sz > 0) {
		ssize_t n = write(lg.fd, p, sz);

		if (n > 0) {
			p += n;
			sz -= (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			atomic_fetch_add_explicit(&lg.dropped, lines, memory_order_relaxed);
			return;
		}
	}
}

/* With the lock held. */
static void gathered_write(void)
{
	lines_write(lg.gathered, lg.gathered_sz, lg.gathered_cnt);
	lg.gathered_sz = 0;
	lg.gathered_cnt = 0;
}

void log_gather(bool on)
{
	pthread_mutex_lock(&lg.lock);
	lg.gathering = on;
	gathered_write();
	pthread_mutex_unlock(&lg.lock);
}

static int file_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

/* Replaces what is open.  Called with fd >= 0; takes ownership of fd and path. */
static void target_set(int fd, char *path)
{
	pthread_mutex_lock(&lg.lock);
	gathered_write();
	int old_fd = lg.fd;
	char *old_path = lg.path;

	lg.fd = fd;
	lg.path = path;
	pthread_mutex_unlock(&lg.lock);
	if (old_path) {
		close(old_fd);
		free(old_path);
	}
}

int log_open(const char *path, enum log_level level)
{
	int fd = STDERR_FILENO;
	char *copy = NULL;

	if (path && *path) {
		fd = file_open(path);
		if (fd < 0)
			return fd;
		copy = strdup(path);
		if (!copy) {
			close(fd);
			return -ENOMEM;
		}
	}
	log_set_level(level);
	target_set(fd, copy);
	return 0;
}

int log_reopen(void)
{
	int rc = 0;

	pthread_mutex_lock(&lg.lock);
	gathered_write();
	if (lg.path) {
		int fd = file_open(lg.path);

		if (fd >= 0) {
			close(lg.fd);
			lg.fd = fd;
		} else {
			rc = fd;
		}
	}
	pthread_mutex_unlock(&lg.lock);
	return rc;
}

void log_close(void)
{
	target_set(STDERR_FILENO, NULL);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&lg.level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level l)
{
	return (int)l <= atomic_load_explicit(&lg.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&lg.dropped, memory_order_relaxed);
}

/* --- formatting --------------------------------------------------------------------------------------------- */

/* A line under construction.  Room for the mark and the newline is kept back, so that a full line still ends well. */
struct line {
	char *p;
	size_t sz;
	bool full;
};

#define LINE_TAIL_SZ 5u /* `..."` and the newline */

static bool line_room(struct line *o, size_t sz)
{
	if (o->full || sz > LOG_LINE_MAX - LINE_TAIL_SZ - o->sz)
		o->full = true;
	return !o->full;
}

static void put(struct line *o, const char *s, size_t sz)
{
	if (line_room(o, sz)) {
		memcpy(o->p + o->sz, s, sz);
		o->sz += sz;
	}
}

static void put_text(struct line *o, const char *s)
{
	put(o, s, strlen(s));
}

static void put_u64(struct line *o, uint64_t v)
{
	char b[24];

	put(o, b, (size_t)snprintf(b, sizeof b, "%" PRIu64, v));
}

static void put_i64(struct line *o, int64_t v)
{
	char b[24];

	put(o, b, (size_t)snprintf(b, sizeof b, "%" PRId64, v));
}

static const char hex_digit[] = "0123456789abcdef";

static void put_hex_byte(struct line *o, uint8_t b)
{
	put(o, (char[]){hex_digit[b >> 4], hex_digit[b & 15]}, 2);
}

static bool is_bare(const char *s, size_t sz)
{
	static const char others[] = "._:/@+-,%[]~#*";

	for (size_t i = 0; i < sz; i++) {
		char c = s[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!word && (c == '\0' || !strchr(others, c)))
			return false;
	}
	return sz > 0;
}

/* Writes the printable form of a byte, without a NUL.  Returns its length. */
static size_t printable(char out[4], char c)
{
	uint8_t b = (uint8_t)c;

	out[0] = '\\';
	switch (c) {
	case '\n':
		out[1] = 'n';
		return 2;
	case '\r':
		out[1] = 'r';
		return 2;
	case '\t':
		out[1] = 't';
		return 2;
	default:
		if (b >= 0x20 && b < 0x7f) {
			out[0] = c;
			return 1;
		}
		out[1] = 'x';
		out[2] = hex_digit[b >> 4];
		out[3] = hex_digit[b & 15];
		return 4;
	}
}

static void put_escaped(struct line *o, char c)
{
	char b[4];

	if (c == '"' || c == '\\')
		put(o, (char[]){'\\', c}, 2);
	else
		put(o, b, printable(b, c));
}

char *log_printable(char *out, size_t out_sz, const char *text)
{
	size_t sz = 0, mark_at = 0;
	char b[4];

	for (; *text; text++) {
		size_t n = printable(b, *text);

		if (sz + n >= out_sz) {
			memcpy(out + mark_at, "...", 4);
			return out;
		}
		memcpy(out + sz, b, n);
		sz += n;
		if (sz + 4 <= out_sz)
			mark_at = sz;
	}
	out[sz] = '\0';
	return out;
}

static void put_value(struct line *o, const char *s, size_t sz, bool always_quoted)
{
	bool cut = sz > LOG_VALUE_MAX;

	if (cut)
		sz = LOG_VALUE_MAX;
	if (!always_quoted && !cut && is_bare(s, sz)) {
		put(o, s, sz);
		return;
	}
	put(o, "\"", 1);
	for (size_t i = 0; i < sz && !o->full; i++)
		put_escaped(o, s[i]);
	if (cut)
		put(o, "...", 3);
	put(o, "\"", 1);
}

static void put_kv(struct line *o, const struct log_kv *kv)
{
	const uint8_t *b = kv->p;
	size_t sz = kv->sz;

	put(o, " ", 1);
	put_text(o, kv->key);
	put(o, "=", 1);
	switch (kv->kind) {
	case LOG_KIND_END:
		break;
	case LOG_KIND_STR:
		if (!kv->p)
			sz = 0;
		else if (sz == SIZE_MAX)
			sz = strlen(kv->p);
		put_value(o, kv->p ? kv->p : "", sz, false);
		break;
	case LOG_KIND_U64:
		put_u64(o, kv->u);
		break;
	case LOG_KIND_I64:
		put_i64(o, kv->i);
		break;
	case LOG_KIND_BOOL:
		put_text(o, kv->u ? "true" : "false");
		break;
	case LOG_KIND_HEX:
		for (size_t i = 0; i < sz && i < LOG_VALUE_MAX; i++)
			put_hex_byte(o, b[i]);
		if (sz > LOG_VALUE_MAX)
			put(o, "...", 3);
		break;
	case LOG_KIND_HEX_REV:
		for (size_t i = sz; i-- > 0;)
			put_hex_byte(o, b[i]);
		break;
	}
}

static void put_time(struct line *o, uint64_t unix_ms)
{
	time_t s = (time_t)(unix_ms / 1000);
	struct tm tm = {0};
	char b[64];

	gmtime_r(&s, &tm);
	size_t sz = strftime(b, sizeof b, "%Y-%m-%dT%H:%M:%S", &tm);

	sz += (size_t)snprintf(b + sz, sizeof b - sz, ".%03uZ", (unsigned)(unix_ms % 1000));
	put(o, b, sz);
}

size_t log_format(char *out, uint64_t unix_ms, enum log_level l, const char *event, const char *msg,
		  const struct log_kv *kv)
{
	struct line o = {.p = out};

	put_time(&o, unix_ms);
	put_text(&o, " level=");
	put_text(&o, log_level_name(l));
	put_text(&o, " event=");
	put_text(&o, event);
	put_text(&o, " msg=");
	put_value(&o, msg, strlen(msg), true);
	for (; kv->kind != LOG_KIND_END; kv++)
		put_kv(&o, kv);
	if (o.full) {
		memcpy(out + o.sz, "...\"", 4);
		o.sz += 4;
	}
	out[o.sz++] = '\n';
	return o.sz;
}

void log_write(enum log_level l, const char *event, const char *msg, const struct log_kv *kv)
{
	char buf[LOG_LINE_MAX];
	struct timespec now;
	int saved = errno;

	clock_gettime(CLOCK_REALTIME, &now);
	size_t sz = log_format(buf, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, l, event,
			       msg, kv);
	pthread_mutex_lock(&lg.lock);
	if (lg.gathered_sz > 0 && (l <= LOG_LVL_WARN || lg.gathered_sz + sz > GATHER_SZ))
		gathered_write();
	if (lg.gathering && l > LOG_LVL_WARN) {
		memcpy(lg.gathered + lg.gathered_sz, buf, sz);
		lg.gathered_sz += sz;
		lg.gathered_cnt++;
	} else {
		lines_write(buf, sz, 1);
	}
	pthread_mutex_unlock(&lg.lock);
	errno = saved;
}
