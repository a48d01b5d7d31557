/* stub.h - in the dataplane's place: the listening side of the link with a chain of its own, which grows when it is told to
   and has in it what it is told.  What vigild does with a block is thus measured without anything around it.

   It believes what control says, watches nothing, and answers every broadcast as sent to one peer.
   Commands  One line each on standard input; each is answered by one JSON object on a line of standard output.
               blocks CNT PAUSE_MS           empty blocks, the next PAUSE_MS after the acknowledgement of the last
               until DELETES PAUSE_MS MAX_S  the same until control has deleted so many locators since the start of the
                                             session, or MAX_S seconds are over
               breach SEED FIRST CNT MAX_S   one block with disputes FIRST.. of the seed in it; waits for every penalty
   Threads   One; between commands it serves the link. */
#ifndef VIGIL_BENCH_API_STUB_H
#define VIGIL_BENCH_API_STUB_H

/* Returns the exit status: 0 when standard input has ended. */
int stub_run(const char *socket_path);

#endif
