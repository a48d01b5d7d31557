#include "carrier/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "meter/meter.h"

#define CA_CACHE_S 60L /* the file of trusted certificates is read again after it */

struct request {
	struct http *http;
	struct request *next, **link;
	CURL *easy;
	http_done_fn done;
	void *arg;
	char *body;
	size_t sz, cap;
	bool too_large;
	char error[CURL_ERROR_SIZE];
};

struct http {
	uv_loop_t *loop;
	uv_timer_t timer;
	CURLM *multi;
	struct curl_slist *headers;
	struct request *requests;
	unsigned handles; /* not closed yet */
	bool freed;
};

struct watch {
	uv_poll_t poll;
	struct http *http;
	curl_socket_t fd;
};

static void http_release(struct http *h)
{
	if (h->freed && h->handles == 0)
		free(h);
}

static void on_timer_closed(uv_handle_t *t)
{
	struct http *h = t->data;

	h->handles--;
	http_release(h);
}

static void on_watch_closed(uv_handle_t *p)
{
	struct watch *w = p->data;
	struct http *h = w->http;

	free(w);
	h->handles--;
	http_release(h);
}

/* --- requests ----------------------------------------------------------------------------------------------- */

static void request_free(struct request *q)
{
	*q->link = q->next;
	if (q->next != NULL)
		q->next->link = q->link;
	curl_multi_remove_handle(q->http->multi, q->easy);
	curl_easy_cleanup(q->easy);
	free(q->body);
	free(q);
}

static void request_done(struct request *q, CURLcode rc)
{
	struct http_reply r = {.error = "", .body = q->body != NULL ? q->body : "", .sz = q->sz};
	const char *url = NULL;
	curl_off_t us = 0;

	if (rc == CURLE_OK)
		curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &r.status);
	else if (q->too_large)
		r.error = "the answer is too large";
	else
		r.error = q->error[0] != '\0' ? q->error : curl_easy_strerror(rc);
	curl_easy_getinfo(q->easy, CURLINFO_TOTAL_TIME_T, &us);
	curl_easy_getinfo(q->easy, CURLINFO_EFFECTIVE_URL, &url);
	meter_note(METER_NODE, us > 0 ? (uint64_t)us * 1000 : 0, "%s", url != NULL ? url : "");
	q->done(q->arg, &r);
}

/* done may send new requests, so each finished one is unlinked before the next is looked for. */
static void take_finished(struct http *h)
{
	CURLMsg *msg;
	int left;

	while (!h->freed && (msg = curl_multi_info_read(h->multi, &left)) != NULL) {
		struct request *q;
		CURLcode rc = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&q);
		request_done(q, rc);
		if (!h->freed) /* done may have freed everything */
			request_free(q);
	}
}

static size_t on_body(char *p, size_t one, size_t sz, void *arg)
{
	struct request *q = arg;

	(void)one;
	if (sz > HTTP_REPLY_MAX - q->sz) {
		q->too_large = true;
		return 0;
	}
	if (q->sz + sz > q->cap) {
		size_t cap = q->cap != 0 ? q->cap : 1024;
		char *bigger;

		while (cap < q->sz + sz)
			cap *= 2;
		bigger = realloc(q->body, cap);
		if (bigger == NULL)
			return 0;
		q->body = bigger;
		q->cap = cap;
	}
	memcpy(q->body + q->sz, p, sz);
	q->sz += sz;
	return sz;
}

/* --- libcurl's sockets and timer on the loop ---------------------------------------------------------------- */

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct watch *w = p->data;
	struct http *h = w->http;
	int flags = 0, running;

	if (status < 0)
		flags |= CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(h->multi, w->fd, flags, &running);
	take_finished(h);
}

static void on_timer(uv_timer_t *t)
{
	struct http *h = t->data;
	int running;

	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_finished(h);
}

static int on_curl_timer(CURLM *m, long ms, void *arg)
{
	struct http *h = arg;

	(void)m;
	if (ms < 0)
		uv_timer_stop(&h->timer);
	else
		uv_timer_start(&h->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static struct watch *watch_new(struct http *h, curl_socket_t fd)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL || uv_poll_init_socket(h->loop, &w->poll, fd) != 0) {
		free(w);
		return NULL;
	}
	w->poll.data = w;
	w->http = h;
	w->fd = fd;
	h->handles++;
	curl_multi_assign(h->multi, fd, w);
	return w;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http *h = arg;
	struct watch *w = socket_arg;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w != NULL)
			uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		curl_multi_assign(h->multi, fd, NULL);
		return 0;
	}
	if (w == NULL)
		w = watch_new(h, fd);
	if (w == NULL)
		return -1; /* ends the requests on it */
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	uv_poll_start(&w->poll, events, on_poll);
	return 0;
}

/* --- lifetime ----------------------------------------------------------------------------------------------- */

struct http *http_new(uv_loop_t *loop)
{
	struct http *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	/* Counted by libcurl; the first call must not run beside another thread's, and the state thread makes it
	   at start. */
	curl_global_init(CURL_GLOBAL_DEFAULT);
	h->multi = curl_multi_init();
	h->headers = curl_slist_append(NULL, "Content-Type: application/json");
	/* Without this libcurl waits for "100 Continue" before a body of more than 1 MiB. */
	if (h->headers != NULL)
		curl_slist_append(h->headers, "Expect:");
	if (h->multi == NULL || h->headers == NULL) {
		curl_multi_cleanup(h->multi);
		curl_slist_free_all(h->headers);
		curl_global_cleanup();
		free(h);
		return NULL;
	}
	h->loop = loop;
	uv_timer_init(loop, &h->timer);
	h->timer.data = h;
	h->handles = 1;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	return h;
}

void http_free(struct http *h)
{
	if (h == NULL || h->freed)
		return;
	h->freed = true;
	while (h->requests != NULL)
		request_free(h->requests);
	curl_multi_cleanup(h->multi);
	curl_slist_free_all(h->headers);
	curl_global_cleanup();
	uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}

bool http_send(struct http *h, const struct http_post *p, http_done_fn done, void *arg)
{
	struct request *q = calloc(1, sizeof(*q));
	CURL *e = curl_easy_init();

	if (q == NULL || e == NULL) {
		free(q);
		curl_easy_cleanup(e);
		return false;
	}
	*q = (struct request){.http = h, .easy = e, .done = done, .arg = arg};
	curl_easy_setopt(e, CURLOPT_URL, p->url);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (p->certificate != NULL) {
		curl_easy_setopt(e, CURLOPT_CAINFO, p->certificate);
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL); /* and nobody else */
		/* libcurl would go by the file's first state for a day; a node may be given a new certificate. */
		curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
	}
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment must not redirect us */
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	/* A request that ends while its name is looked up must not wait for the resolver's thread. */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	curl_easy_setopt(e, CURLOPT_USERNAME, p->user);
	curl_easy_setopt(e, CURLOPT_PASSWORD, p->password);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS, p->body);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->body_sz);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)p->timeout_ms);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	/* A node closes a connection that was idle for 30 s; do not race with that. */
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, 25L);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, q);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, q->error);
	curl_easy_setopt(e, CURLOPT_PRIVATE, q);
	if (curl_multi_add_handle(h->multi, e) != CURLM_OK) {
		curl_easy_cleanup(e);
		free(q);
		return false;
	}
	q->next = h->requests;
	q->link = &h->requests;
	if (q->next != NULL)
		q->next->link = &q->next;
	h->requests = q;
	return true;
}
