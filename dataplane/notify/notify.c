#include "notify/notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

static uint64_t watchdog_ns;

void notify_open(void)
{
	uint64_t us = 0;

	watchdog_ns = sd_watchdog_enabled(0, &us) > 0 ? us * 1000 : 0;
}

static void tell(const char *state)
{
	sd_notify(0, state);
}

uint64_t notify_watchdog_ns(void)
{
	return watchdog_ns;
}
#else
void notify_open(void)
{
}

static void tell(const char *state)
{
	(void)state;
}

uint64_t notify_watchdog_ns(void)
{
	return 0;
}
#endif

void notify_ready(void)
{
	tell("READY=1");
}

void notify_status(const char *fmt, ...)
{
	char text[256] = "STATUS=";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + strlen(text), sizeof(text) - strlen(text), fmt, ap);
	va_end(ap);
	/* A line break would begin another assignment. */
	for (char *p = text; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	tell(text);
}

void notify_stopping(void)
{
	tell("STOPPING=1");
}

void notify_alive(void)
{
	tell("WATCHDOG=1");
}
