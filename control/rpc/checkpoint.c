/* checkpoint and getcheckpoint: a backup of the store (store.h); begun by one, shown by both. */
#include <errno.h>

#include "rpc/rpc_priv.h"

static json_t *view(struct store *s)
{
	static const char *const state[] = {[STORE_CHECKPOINT_NONE] = "none",
					    [STORE_CHECKPOINT_RUNNING] = "running",
					    [STORE_CHECKPOINT_DONE] = "done",
					    [STORE_CHECKPOINT_FAILED] = "failed"};
	struct store_checkpoint c;

	store_checkpoint_get(s, &c);
	return json_pack("{s:s, s:o, s:o, s:I}", "state", state[c.state], "dir",
			 c.dir[0] ? json_string(c.dir) : json_null(), "error",
			 c.why[0] ? rpc_json_ascii(c.why, sizeof(c.why)) : json_null(), "ms", (json_int_t)c.ms);
}

struct rpc_done rpc_getcheckpoint(struct rpc_call *call)
{
	return rpc_result(view(((struct rpc_ctx *)call->ctx)->env.store));
}

struct rpc_done rpc_checkpoint(struct rpc_call *call)
{
	struct store *s = ((struct rpc_ctx *)call->ctx)->env.store;

	switch (store_checkpoint_begin(s, call->arg[0].text)) {
	case 0:
		return rpc_result(view(s));
	case -EBUSY:
		return rpc_fail(RPC_BUSY, "a checkpoint is under way; getcheckpoint shows it");
	case -EINVAL:
		return rpc_fail(RPC_BAD_PARAMS, "dir: must be an absolute path of at most 1000 bytes");
	case -EIO:
		return rpc_fail(RPC_BUSY, "the store has failed and is being brought back; try again");
	default:
		return rpc_fail(RPC_BUSY, "no thread for it now; try again");
	}
}
