/* login.c - which node gets which credentials: rpc.user, rpc.password and rpc.cookie-file are for all nodes, or lists with
   an item for each node of rpc.connect, in its order.

   A comma is part of a password unless rpc.user is a list as well: so a single login is taken as it stands. */
#include "config/config_priv.h"

#include <stdlib.h>
#include <string.h>

struct list {
	const char *item[CONFIG_NODES_MAX];
	size_t sz[CONFIG_NODES_MAX];
	unsigned cnt; /* CONFIG_NODES_MAX + 1: too many */
};

static struct list split(const char *text, bool whole)
{
	struct list l = {.cnt = 0};

	while (l.cnt < CONFIG_NODES_MAX) {
		size_t sz = whole ? strlen(text) : strcspn(text, ",");

		while (!whole && sz > 0 && (*text == ' ' || *text == '\t')) {
			text++;
			sz--;
		}
		l.item[l.cnt] = text;
		l.sz[l.cnt] = sz;
		while (!whole && l.sz[l.cnt] > 0 && strchr(" \t", text[l.sz[l.cnt] - 1]) != NULL)
			l.sz[l.cnt]--;
		l.cnt++;
		if (text[sz] == '\0')
			return l;
		text += sz + 1;
	}
	l.cnt++;
	return l;
}

static bool fits(struct config_load *ld, const struct list *l, const char *key)
{
	if (l->cnt == 1 || l->cnt == ld->cfg->node_cnt)
		return true;
	snprintf(ld->why, CONFIG_WHY_SZ,
		 "%s has a list of items, but not one for each of the %u nodes of rpc.connect", key,
		 ld->cfg->node_cnt);
	return false;
}

/* The item for node i; false: it does not fit. */
static bool take(char *out, size_t room, const struct list *l, unsigned i)
{
	unsigned k = l->cnt == 1 ? 0 : i;

	if (l->sz[k] >= room)
		return false;
	memcpy(out, l->item[k], l->sz[k]);
	out[l->sz[k]] = '\0';
	return true;
}

/* The first path of the list has been expanded when it was read. */
static bool expand(char path[CONFIG_PATH_SZ])
{
	const char *home = getenv("HOME");
	size_t sz = strlen(path), home_sz;

	if (path[0] != '~' || path[1] != '/')
		return true;
	home_sz = home != NULL ? strlen(home) : 0;
	if (home_sz == 0 || home_sz + sz > CONFIG_PATH_SZ)
		return false;
	memmove(path + home_sz, path + 1, sz);
	memcpy(path, home, home_sz);
	return true;
}

static bool one_login(struct config_load *ld, unsigned i)
{
	struct config_node *n = &ld->cfg->nodes[i];
	const char *what;

	if (n->cookie[0] && (n->user[0] || n->password[0]))
		what = "both a cookie file and a user or a password: use one way";
	else if (!n->cookie[0] && !(n->user[0] && n->password[0]))
		what = "neither rpc.cookie-file nor rpc.user and rpc.password";
	else
		return true;
	snprintf(ld->why, CONFIG_WHY_SZ, "rpc.connect: node %u (%.200s) has %s", i + 1, n->host, what);
	return false;
}

bool config_logins(struct config_load *ld)
{
	struct config *c = ld->cfg;
	bool many = c->node_cnt > 1 && strchr(c->rpc_user, ',') != NULL;
	struct list cookies = split(c->rpc_cookie_file, c->node_cnt < 2);
	struct list users = split(c->rpc_user, !many);
	struct list passwords = split(c->rpc_password, !many);

	if (!fits(ld, &cookies, "rpc.cookie-file") || !fits(ld, &users, "rpc.user") ||
	    !fits(ld, &passwords, "rpc.password"))
		return c->node_cnt == 0;
	for (unsigned i = 0; i < c->node_cnt; i++) {
		struct config_node *n = &c->nodes[i];

		if (!take(n->cookie, sizeof n->cookie, &cookies, i) ||
		    !take(n->user, sizeof n->user, &users, i) ||
		    !take(n->password, sizeof n->password, &passwords, i) || !expand(n->cookie)) {
			snprintf(ld->why, CONFIG_WHY_SZ, "rpc.connect: the login of node %u is too long",
				 i + 1);
			return false;
		}
		/* One for all, except where a node has its own kind. */
		if (n->cookie[0] && cookies.cnt > 1 && users.cnt == 1)
			n->user[0] = n->password[0] = '\0';
		if (!one_login(ld, i))
			return false;
	}
	return true;
}
