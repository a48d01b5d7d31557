/* file.c - the configuration file: inih splits lines into section, key and value; this file counts the lines (inih
   does not tell), bounds them, and turns every doubt into an error. */
#include "config/config_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SZ_MAX (1u << 20)

struct reader {
	struct config_load *ld;
	const char *p, *end;
	bool failed; /* ld->why is set; hand out nothing more */
};

#define fail(ld, ...) \
	(fail_at(ld), snprintf((ld)->why + strlen((ld)->why), CONFIG_WHY_SZ - strlen((ld)->why), __VA_ARGS__))

static void fail_at(struct config_load *ld)
{
	snprintf(ld->why, CONFIG_WHY_SZ, "%s:%u: ", ld->file, ld->line);
}

/* inih goes on after a malformed line and reports it at the end, so that a later, misleading error could come first. */
static bool well_formed(const char *line, size_t sz)
{
	if (sz == 0)
		return true;
	return line[0] == '[' ? memchr(line, ']', sz) != NULL : memchr(line, '=', sz) != NULL;
}

/* inih asks for one line at a time, like fgets.  Leading blanks are taken off, because inih would read an indented
   line as the continuation of the value above it. */
static char *reader_line(char *out, int room, void *arg)
{
	struct reader *r = arg;
	struct config_load *ld = r->ld;

	if (r->failed || r->p == r->end)
		return NULL;
	const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
	const char *stop = nl ? nl : r->end;
	const char *from = r->p;

	ld->line++;
	r->p = nl ? nl + 1 : r->end;
	r->failed = true;
	if (memchr(from, '\0', (size_t)(stop - from))) {
		fail(ld, "the line holds a NUL byte; this is not a text file");
		return NULL;
	}
	while (from < stop && (*from == ' ' || *from == '\t'))
		from++;
	if (stop > from && stop[-1] == '\r')
		stop--;

	size_t sz = (size_t)(stop - from);

	/* A comment may be as long as it likes. */
	if (sz > 0 && (*from == '#' || *from == ';'))
		sz = 0;
	if (!well_formed(from, sz)) {
		fail(ld, "%.*s: the line is neither [section] nor key=value", sz < 64 ? (int)sz : 64, from);
		return NULL;
	}
	if (sz + 2 > (size_t)room) {
		size_t key_sz = strcspn(from, "= \t\n");

		fail(ld,
		     "%.*s: the line is longer than %d bytes (the command line takes longer "
		     "values)",
		     key_sz < 64 ? (int)key_sz : 64, from, room - 2);
		return NULL;
	}
	memcpy(out, from, sz);
	memcpy(out + sz, "\n", 2);
	r->failed = false;
	return out;
}

static int on_value(void *arg, const char *section, const char *name, const char *value)
{
	struct reader *r = arg;
	struct config_load *ld = r->ld;
	char reason[CONFIG_TEXT_SZ];
	bool section_known;

	if (r->failed)
		return 0;
	r->failed = true;
	int i = config_key_find(section, name, &section_known);

	if (i < 0) {
		if (!*section)
			fail(ld, "%s: this key stands before any [section]", name);
		else if (!section_known)
			fail(ld, "%s: there is no section [%s]", name, section);
		else
			fail(ld, "%s: section [%s] has no such key", name, section);
		return 0;
	}
	if (ld->given_line[i]) {
		fail(ld, "%s.%s is given twice (first on line %u)", section, name, ld->given_line[i]);
		return 0;
	}
	ld->given_line[i] = ld->line;

	const struct config_key *k = &config_keys[i];

	if (!k->parse(k, (char *)ld->cfg + k->off, value, reason)) {
		fail(ld, "%s.%s: \"%s\" %s", section, name, value, reason);
		return 0;
	}
	r->failed = false;
	return 1;
}

/* Reads the whole file, at most FILE_SZ_MAX.  NULL with why set. */
static char *slurp(struct config_load *ld, const char *path, size_t *sz, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *buf = NULL;
	size_t got = 0;

	if (fd < 0) {
		snprintf(ld->why, CONFIG_WHY_SZ, "cannot open the configuration file %s: %s", path,
			 strerror(errno));
		return NULL;
	}
	if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
		snprintf(ld->why, CONFIG_WHY_SZ, "the configuration file %s is not a regular file", path);
		goto out;
	}
	buf = malloc(FILE_SZ_MAX + 2);
	while (buf && got <= FILE_SZ_MAX) {
		ssize_t n = read(fd, buf + got, FILE_SZ_MAX + 1 - got);

		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			snprintf(ld->why, CONFIG_WHY_SZ, "cannot read the configuration file %s: %s", path,
				 strerror(errno));
			free(buf);
			buf = NULL;
			goto out;
		}
		got += (size_t)n;
	}
	if (!buf || got > FILE_SZ_MAX) {
		snprintf(ld->why, CONFIG_WHY_SZ, "the configuration file %s is larger than %u bytes", path,
			 FILE_SZ_MAX);
		free(buf);
		buf = NULL;
	}
	if (buf)
		buf[got] = '\0';
	*sz = got;
out:
	close(fd);
	return buf;
}

bool config_read_file(struct config_load *ld, const char *path)
{
	struct stat st;
	size_t sz = 0, skip = 0;
	char *buf = slurp(ld, path, &sz, &st);

	if (!buf)
		return false;
	if (st.st_mode & S_IWOTH) {
		snprintf(ld->why, CONFIG_WHY_SZ,
			 "every user can write the configuration file %s: run chmod o-w on it", path);
		free(buf);
		return false;
	}
	ld->file = path;
	ld->line = 0;

	if (sz >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0)
		skip = 3; /* a byte order mark */
	struct reader r = {.ld = ld, .p = buf + skip, .end = buf + sz};
	int rc = ini_parse_stream(reader_line, &r, on_value, &r);

	free(buf);
	if (rc != 0 && !r.failed) {
		ld->line = rc > 0 ? (unsigned)rc : ld->line;
		fail(ld, "the line is neither [section] nor key=value");
		return false;
	}
	if (r.failed)
		return false;

	static const char *const with_password[] = {"rpc", "tor"};

	for (size_t n = 0; n < sizeof with_password / sizeof with_password[0]; n++) {
		bool known;
		int i = config_key_find(with_password[n], "password", &known);
		const char *value = (const char *)ld->cfg + config_keys[i].off;

		if (ld->given_line[i] && *value && (st.st_mode & S_IROTH)) {
			ld->line = ld->given_line[i];
			fail(ld, "%s.password is in a file that every user can read: run chmod o-r on it",
			     with_password[n]);
			return false;
		}
	}
	return true;
}
