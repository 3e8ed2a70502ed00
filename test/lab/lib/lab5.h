/* lab5.h - assignment 5: sharing by grants. What you write, in user/lab5/ring.c; docs/lab/5-sharing.md tells the story. */
#pragma once

#include "kit.h"

#define RING_MESSAGE 256u /* bytes in a message, at most; at least 1 */
#define RING_ROOM 16u     /* so many messages, of any size, fit before the receiver takes one */

struct ring; /* yours; each side has one of its own */

/* Envs are named as env_self_name does. Two strangers: neither is an ancestor of the other, neither trusts the other. */

/* The sender: make the memory, show it, grant it to the receiver. NULL: no memory. Doesn't wait for the receiver. */
struct ring *ring_offer(uint64_t receiver);
/* The receiver: wait for the sender's offer (thread_sleep(1) in between; give up after 5 seconds), link it. NULL: none came. */
struct ring *ring_join(uint64_t sender);

/* 1: the message of n bytes is on its way; 0: there is no room now, or the receiver has not joined yet; -FH_ECANCELED: the
 * receiver has closed the ring, or is dead; -FH_EINVAL: n is 0 or above RING_MESSAGE. Never waits, and once the two are in touch
 * makes no system call. */
int ring_send(struct ring *, const void *message, size_t n);
/* Its length, and it is in message (RING_MESSAGE bytes); 0: there is none now; -FH_ECANCELED: the sender has closed the ring, or
 * is dead, or what it has put there makes no sense. Never waits, and makes no system call. */
int ring_receive(struct ring *, void *message);

/* Pass on the page at va, with what is in it, in turn with the messages: 1: it is the receiver's to take; 0: no room, it is here
 * still; -FH_ECANCELED, too. */
int ring_send_page(struct ring *, va_t va);
/* The next message must be a page: map it at va, readable and writable. 1; 0: nothing is there now; or -errno. */
int ring_receive_page(struct ring *, va_t va);

/* Either side: take back what was shown, unlink what was linked, free all. */
void ring_close(struct ring *);
