/* notify.h - tells the service manager (systemd, sd_notify(3)) how the process is doing.

   Threads  Any one thread at a time.  No file is opened after notify_open: a message is one datagram on a socket of
            its own.
   Absent   Without a manager that asked (NOTIFY_SOCKET), or built without libsystemd, every call does nothing. */
#ifndef VIGIL_NOTIFY_NOTIFY_H
#define VIGIL_NOTIFY_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Reads what the manager put into the environment.  Once, at start. */
void notify_open(void);
void notify_ready(void);
/* One line for `systemctl status`. */
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void notify_stopping(void);
/* The process works: must be said at least every notify_watchdog_ns. */
void notify_alive(void);
/* 0: no watchdog waits.  Half of the time is the usual distance of two signs of life. */
uint64_t notify_watchdog_ns(void);

#endif
