/* SPDX-License-Identifier: MIT */

/* What all implementations of the store share; see store.h. */

#include "store.h"

struct store *store_close(struct store *store)
{
        if (store)
                store->vtable->close(store);
        return NULL;
}
