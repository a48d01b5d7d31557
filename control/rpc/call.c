#include "rpc/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btc/hash.h"

static json_t *error_object(enum rpc_code code, const char *message)
{
	return json_pack("{s:i, s:s}", "code", (int)code, "message", message);
}

struct rpc_done rpc_result(json_t *result)
{
	if (result == NULL)
		return rpc_fail(RPC_INTERNAL, "out of memory");
	return (struct rpc_done){.result = result};
}

struct rpc_done rpc_fail(enum rpc_code code, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Texts quote the request, perhaps cut inside a character. */
	for (char *p = text; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return (struct rpc_done){.error = error_object(code, text)};
}

/* Takes the references.  NULL only when memory is out. */
static char *line_of(json_t *id, struct rpc_done done)
{
	json_t *o = json_object();
	char *line = NULL;
	int bad = json_object_set_new(o, "jsonrpc", json_string("2.0"));

	/* json_object_set_new releases the value it is given, even when it fails. */
	if (done.result != NULL)
		bad |= json_object_set_new(o, "result", done.result);
	else
		bad |= json_object_set_new(o, "error", done.error);
	bad |= json_object_set_new(o, "id", id != NULL ? id : json_null());
	if (!bad)
		line = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return line;
}

char *rpc_error_line(enum rpc_code code, const char *message)
{
	return line_of(NULL, rpc_fail(code, "%s", message));
}

/* --- arguments ---------------------------------------------------------------------------------------------- */

static unsigned param_cnt(const struct rpc_method *m)
{
	unsigned n = 0;

	while (n < RPC_PARAM_MAX && m->param[n].name != NULL)
		n++;
	return n;
}

static bool count_of(const json_t *v, uint64_t max, uint64_t *out)
{
	if (json_is_integer(v)) {
		*out = json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
		return *out >= 1 && *out <= max;
	}
	if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > 19)
		return false;
	*out = 0;
	for (const char *p = json_string_value(v); *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return false;
		*out = *out * 10 + (uint64_t)(*p - '0'); /* 19 digits fit in 64 bits */
	}
	return *out >= 1 && *out <= max;
}

/* Decodes v into *a; false with what was expected in why. */
static bool arg_of(const struct rpc_param *p, const json_t *v, struct rpc_arg *a, char *why, size_t why_sz)
{
	if (v == NULL || json_is_null(v)) {
		if (p->required)
			snprintf(why, why_sz, "%s: is missing", p->name);
		return !p->required;
	}
	a->given = true;
	switch (p->type) {
	case RPC_HEX:
		if (json_is_string(v) && hex_decode(a->b, p->max, json_string_value(v), json_string_length(v)))
			return true;
		snprintf(why, why_sz, "%s: must be %u hex digits", p->name, (unsigned)p->max * 2);
		return false;
	case RPC_COUNT:
		if (count_of(v, p->max, &a->u))
			return true;
		snprintf(why, why_sz, "%s: must be an integer from 1 to %llu", p->name,
			 (unsigned long long)p->max);
		return false;
	case RPC_TEXT:
		a->text = json_string_value(v);
		if (a->text == NULL)
			snprintf(why, why_sz, "%s: must be text", p->name);
		return a->text != NULL;
	}
	return false;
}

static bool name_is_known(const struct rpc_method *m, unsigned cnt, const char *name)
{
	for (unsigned i = 0; i < cnt; i++)
		if (strcmp(m->param[i].name, name) == 0)
			return true;
	return false;
}

static bool args_decode(const struct rpc_method *m, json_t *params, struct rpc_call *call, char *why,
			size_t why_sz)
{
	unsigned cnt = param_cnt(m);
	const char *name;
	json_t *v;

	if (json_is_array(params) && json_array_size(params) > cnt) {
		snprintf(why, why_sz, "%s takes at most %u parameters", m->name, cnt);
		return false;
	}
	if (json_is_object(params)) {
		json_object_foreach(params, name, v)
		{
			if (!name_is_known(m, cnt, name)) {
				snprintf(why, why_sz, "%s has no parameter '%.40s'", m->name, name);
				return false;
			}
		}
	}
	for (unsigned i = 0; i < cnt; i++) {
		v = json_is_object(params) ? json_object_get(params, m->param[i].name)
					   : json_array_get(params, i);
		if (!arg_of(&m->param[i], v, &call->arg[i], why, why_sz))
			return false;
	}
	return true;
}

/* --- requests ----------------------------------------------------------------------------------------------- */

static struct rpc_done run(const struct rpc_table *t, json_t *req)
{
	struct rpc_call call = {.ctx = t->ctx, .table = t};
	const char *version = json_string_value(json_object_get(req, "jsonrpc"));
	json_t *name = json_object_get(req, "method");
	json_t *params = json_object_get(req, "params");
	char why[160];

	if (version == NULL || strcmp(version, "2.0") != 0)
		return rpc_fail(RPC_BAD_REQUEST, "\"jsonrpc\" must be \"2.0\"");
	if (!json_is_string(name))
		return rpc_fail(RPC_BAD_REQUEST, "\"method\" must be text");
	if (params != NULL && !json_is_array(params) && !json_is_object(params))
		return rpc_fail(RPC_BAD_REQUEST, "\"params\" must be an array or an object");
	for (size_t i = 0; i < t->cnt; i++) {
		const struct rpc_method *m = &t->method[i];

		if (strcmp(m->name, json_string_value(name)) != 0)
			continue;
		if (!args_decode(m, params, &call, why, sizeof(why)))
			return rpc_fail(RPC_BAD_PARAMS, "%s", why);
		return m->run(&call);
	}
	return rpc_fail(RPC_NO_METHOD, "no method '%.60s'; 'help' lists them", json_string_value(name));
}

static bool id_is_valid(const json_t *id)
{
	return json_is_string(id) || json_is_number(id) || json_is_null(id);
}

char *rpc_answer(const struct rpc_table *t, const char *text, size_t sz, bool *not_json, bool *failed)
{
	json_error_t err;
	json_t *req = json_loadb(text, sz, JSON_REJECT_DUPLICATES, &err);
	json_t *id = NULL;
	struct rpc_done done;
	bool notification;
	char *line = NULL;

	*not_json = req == NULL;
	*failed = true;
	if (req == NULL)
		return line_of(NULL, rpc_fail(RPC_NOT_JSON, "not JSON: %s", err.text));
	if (!json_is_object(req)) {
		json_decref(req);
		return rpc_error_line(RPC_BAD_REQUEST, "batches are not supported");
	}
	id = json_object_get(req, "id");
	notification = id == NULL;
	if (notification || id_is_valid(id))
		done = run(t, req);
	else
		done = rpc_fail(RPC_BAD_REQUEST, "\"id\" must be text, a number or null");
	*failed = done.result == NULL;
	if (notification) {
		json_decref(done.result);
		json_decref(done.error);
	} else {
		line = line_of(id_is_valid(id) ? json_incref(id) : NULL, done);
	}
	json_decref(req);
	return line;
}

/* --- help --------------------------------------------------------------------------------------------------- */

static json_t *describe(const struct rpc_method *m)
{
	json_t *params = json_array();
	unsigned cnt = param_cnt(m);

	for (unsigned i = 0; i < cnt; i++) {
		const struct rpc_param *p = &m->param[i];
		const char *type = p->type == RPC_HEX ? "hex" : p->type == RPC_COUNT ? "count" : "text";

		json_array_append_new(params, json_pack("{s:s, s:s, s:b}", "name", p->name, "type", type,
							"required", p->required));
	}
	return json_pack("{s:s, s:o, s:s}", "name", m->name, "params", params, "help", m->help);
}

struct rpc_done rpc_help(struct rpc_call *call)
{
	const struct rpc_table *t = call->table;
	json_t *list;

	if (call->arg[0].given) {
		for (size_t i = 0; i < t->cnt; i++)
			if (strcmp(t->method[i].name, call->arg[0].text) == 0)
				return rpc_result(describe(&t->method[i]));
		return rpc_fail(RPC_NOT_FOUND, "no method '%.60s'", call->arg[0].text);
	}
	list = json_array();
	for (size_t i = 0; i < t->cnt; i++)
		json_array_append_new(list, describe(&t->method[i]));
	return rpc_result(json_pack("{s:o}", "methods", list));
}
