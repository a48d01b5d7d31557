#include "config/config_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --SECTION.KEY=VALUE.  False with why set. */
static bool take_option(struct config_load *ld, const char *arg)
{
	char section[32], name[64], reason[CONFIG_TEXT_SZ];
	const char *dot = strchr(arg, '.'), *eq = strchr(arg, '=');
	bool section_known;
	int i = -1;

	if (strcmp(arg, "--overwrite-key") == 0) {
		ld->cfg->overwrite_key = true;
		return true;
	}
	if (arg[0] == '-' && arg[1] == '-' && dot && (!eq || dot < eq)) {
		size_t name_sz = eq ? (size_t)(eq - dot - 1) : strlen(dot + 1);

		if (dot - arg - 2 < (ptrdiff_t)sizeof section && name_sz < sizeof name) {
			snprintf(section, sizeof section, "%.*s", (int)(dot - arg - 2), arg + 2);
			snprintf(name, sizeof name, "%.*s", (int)name_sz, dot + 1);
			i = config_key_find(section, name, &section_known);
		}
	}
	if (i < 0) {
		snprintf(ld->why, CONFIG_WHY_SZ, "%.200s is not an option; --help lists them all", arg);
		return false;
	}
	if (!eq) {
		snprintf(ld->why, CONFIG_WHY_SZ, "%s needs a value: %s=VALUE", arg, arg);
		return false;
	}
	if (ld->given_opt[i]) {
		snprintf(ld->why, CONFIG_WHY_SZ, "--%s.%s is given twice on the command line", section, name);
		return false;
	}
	ld->given_opt[i] = true;

	const struct config_key *k = &config_keys[i];

	if (!k->parse(k, (char *)ld->cfg + k->off, eq + 1, reason)) {
		snprintf(ld->why, CONFIG_WHY_SZ, "--%s.%s: \"%.300s\" %s", section, name, eq + 1, reason);
		return false;
	}
	if (strcmp(name, "password") == 0)
		ld->cfg->password_on_command_line = true;
	return true;
}

/* An empty path becomes <network_dir>/name.  Sockets are bound by the length of sun_path, which a deep data-dir
   passes easily. */
static bool default_socket(struct config_load *ld, char *path, const char *key, const char *name)
{
	if (!*path &&
	    (size_t)snprintf(path, CONFIG_SOCKET_SZ, "%s/%s", ld->cfg->network_dir, name) >= CONFIG_SOCKET_SZ) {
		snprintf(ld->why, CONFIG_WHY_SZ,
			 "%s: %s/%s is longer than the %u bytes a Unix socket's path may have; set "
			 "%s to a shorter one",
			 key, ld->cfg->network_dir, name, CONFIG_SOCKET_SZ - 1, key);
		return false;
	}
	return true;
}

/* What no single key can check. */
static bool resolve(struct config_load *ld)
{
	struct config *c = ld->cfg;
	const struct network *net = network_get(c->network);
	bool any_tls = false;

	if (!c->data_dir[0]) {
		snprintf(ld->why, CONFIG_WHY_SZ,
			 "tower.data-dir is not set, and its default needs HOME in the environment");
		return false;
	}
	snprintf(c->network_dir, sizeof c->network_dir, "%.900s/%s", c->data_dir, net->name);
	snprintf(c->store_dir, sizeof c->store_dir, "%.1000s/store", c->network_dir);
	snprintf(c->onion_file, sizeof c->onion_file, "%.1000s/onion_v3_sk", c->network_dir);
	snprintf(c->key_file, sizeof c->key_file, "%.1000s/tower.key", c->network_dir);
	if (!default_socket(ld, c->link_socket, "link.socket", "link.sock") ||
	    !default_socket(ld, c->control_socket, "control.socket", "control.sock"))
		return false;
	if (strcmp(c->link_socket, c->control_socket) == 0) {
		snprintf(ld->why, CONFIG_WHY_SZ, "link.socket and control.socket are both %s", c->link_socket);
		return false;
	}
	for (unsigned i = 0; i < c->node_cnt; i++) {
		any_tls |= c->nodes[i].tls;
		if (c->nodes[i].port == 0)
			c->nodes[i].port = net->rpc_port;
	}
	if (!config_logins(ld))
		return false;
	if (c->rpc_certificate[0] && !any_tls) {
		snprintf(ld->why, CONFIG_WHY_SZ,
			 "rpc.certificate is set, but no node of rpc.connect has https:// before its name");
		return false;
	}
	return true;
}

static enum config_verdict load(struct config *cfg, int argc, char *const *argv, char *why)
{
	struct config_load ld = {.cfg = cfg, .why = why};
	const char *file = NULL;
	char reason[CONFIG_TEXT_SZ];

	memset(cfg, 0, sizeof *cfg);
	why[0] = '\0';
	/* A default can fail only for want of HOME; then the field stays empty and resolve() asks for it. */
	for (unsigned i = 0; i < config_key_cnt; i++)
		config_keys[i].parse(&config_keys[i], (char *)cfg + config_keys[i].off, config_keys[i].dflt,
				     reason);

	/* First pass: what decides everything else.  Asking for help must work however wrong the rest is. */
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return CONFIG_HELP;
		if (strcmp(argv[i], "--version") == 0)
			return CONFIG_VERSION;
	}
	for (int i = 1; i < argc; i++) {
		const char *name = NULL;

		if (strcmp(argv[i], "--config") == 0) {
			if (++i < argc)
				name = argv[i];
		} else if (strncmp(argv[i], "--config=", 9) == 0) {
			name = argv[i] + 9;
		} else {
			continue;
		}
		if (!name || !*name) {
			snprintf(why, CONFIG_WHY_SZ, "--config needs the name of a file");
			return CONFIG_BAD;
		}
		if (file) {
			snprintf(why, CONFIG_WHY_SZ, "--config is given twice on the command line");
			return CONFIG_BAD;
		}
		file = name;
	}
	if (file && !config_read_file(&ld, file))
		return CONFIG_BAD;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0)
			i++;
		else if (strncmp(argv[i], "--config=", 9) != 0 && !take_option(&ld, argv[i]))
			return CONFIG_BAD;
	}
	return resolve(&ld) ? CONFIG_RUN : CONFIG_BAD;
}

/* Sentences quote the file and the command line, and end on a terminal: made harmless here, once for all of them. */
enum config_verdict config_load(struct config *cfg, int argc, char *const *argv, char *why)
{
	char raw[CONFIG_WHY_SZ];
	enum config_verdict v = load(cfg, argc, argv, raw);

	log_printable(why, CONFIG_WHY_SZ, raw);
	return v;
}

void config_print_help(FILE *f)
{
	fprintf(f, "Usage: vigild [--config FILE] [--SECTION.KEY=VALUE ...]\n"
		   "The Vigil watchtower: takes appointments, watches for breaches, answers them with "
		   "penalties.\n\n"
		   "  --config FILE          read settings from FILE ([section] and key=value lines)\n"
		   "  --overwrite-key        start with a new tower key; the old one is kept beside it, and\n"
		   "                         clients that know the old one will distrust this tower\n"
		   "  --help                 print this and exit\n"
		   "  --version              print the version and exit\n\n"
		   "Every setting can stand in the file or on the command line; the command line "
		   "wins.\n");
	for (unsigned i = 0; i < config_key_cnt; i++) {
		const struct config_key *k = &config_keys[i];

		if (i == 0 || strcmp(k->section, config_keys[i - 1].section) != 0)
			fprintf(f, "\n[%s]\n", k->section);
		fprintf(f, "  --%s.%s=%s\n", k->section, k->name, *k->dflt ? k->dflt : "(empty)");
		fprintf(f, "      %s  (%s", k->help, k->unit);
		if (k->max)
			fprintf(f, ", %llu to %llu", (unsigned long long)k->min, (unsigned long long)k->max);
		fprintf(f, ")\n");
	}
}

void config_print_sample(FILE *f)
{
	fprintf(f, "# Settings of vigild.  Every key stands here at its default, commented out.\n"
		   "# The command line (--SECTION.KEY=VALUE) wins over this file.\n");
	for (unsigned i = 0; i < config_key_cnt; i++) {
		const struct config_key *k = &config_keys[i];

		if (i == 0 || strcmp(k->section, config_keys[i - 1].section) != 0)
			fprintf(f, "\n[%s]\n", k->section);
		fprintf(f, "# %s  (%s)\n#%s=%s\n", k->help, k->unit, k->name, k->dflt);
	}
}

static int make_dir(const char *path, char *why)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return 0;
	int err = errno;

	if (err == EEXIST && stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		err = ENOTDIR;
	}
	char name[CONFIG_PATH_SZ];

	snprintf(why, CONFIG_WHY_SZ, "cannot create the directory %.900s: %s",
		 log_printable(name, sizeof name, path), strerror(err));
	return -err;
}

/* Who may write there may put another key, or another store, in place of ours. */
static int check_dir(const char *path, char *why)
{
	char name[CONFIG_PATH_SZ];
	struct stat st;

	if (stat(path, &st) != 0)
		return -errno;
	log_printable(name, sizeof name, path);
	if (st.st_uid != geteuid()) {
		snprintf(why, CONFIG_WHY_SZ,
			 "the directory %.900s belongs to user %u, not to the user running vigild", name,
			 (unsigned)st.st_uid);
		return -EPERM;
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(why, CONFIG_WHY_SZ,
			 "others may write in the directory %.900s (mode %03o): run chmod go-w on it", name,
			 (unsigned)(st.st_mode & 0777));
		return -EPERM;
	}
	return 0;
}

int config_make_dirs(const struct config *cfg, char *why)
{
	char path[CONFIG_PATH_SZ];
	size_t sz = strlen(cfg->data_dir);

	memcpy(path, cfg->data_dir, sz + 1);
	for (size_t i = 1; i < sz; i++) {
		if (path[i] != '/')
			continue;
		path[i] = '\0';
		int rc = make_dir(path, why);

		if (rc)
			return rc;
		path[i] = '/';
	}
	int rc = make_dir(cfg->data_dir, why);

	rc = rc ? rc : make_dir(cfg->network_dir, why);
	return rc ? rc : check_dir(cfg->network_dir, why);
}
