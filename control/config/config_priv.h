/* config_priv.h - the table of keys, shared by the parts of config/. */
#ifndef VIGIL_CONFIG_CONFIG_PRIV_H
#define VIGIL_CONFIG_CONFIG_PRIV_H

#include "config/config.h"

#define CONFIG_KEYS_MAX 48u

struct config_key {
	const char *section, *name;
	/* Stores text into the field at off.  False with a reason ("is not ...") in why. */
	bool (*parse)(const struct config_key *k, void *field, const char *text, char *why);
	size_t off, sz;    /* field in struct config */
	uint64_t min, max; /* numbers */
	const char *dflt;  /* parsed like any other value */
	const char *unit;  /* or what a value looks like */
	const char *help;
};

extern const struct config_key config_keys[];
extern const unsigned config_key_cnt;

/* What has been given so far, and where the parser stands. */
struct config_load {
	struct config *cfg;
	const char *file; /* NULL while the command line is read */
	unsigned line;
	unsigned given_line[CONFIG_KEYS_MAX]; /* file: line a key was given on, 0 not yet */
	bool given_opt[CONFIG_KEYS_MAX];      /* command line */
	char *why;
};

/* Index into config_keys, or -1.  *section_known tells whether at least the section is right. */
int config_key_find(const char *section, const char *name, bool *section_known);

/* Gives each node its login.  False with ld->why set. */
bool config_logins(struct config_load *ld);

/* Reads the file into ld->cfg.  False with ld->why set. */
bool config_read_file(struct config_load *ld, const char *path);

#endif
