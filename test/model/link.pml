/*
 * link.pml - a granted window: link, unlink, withdraw, grant again (docs/design.md, sections 4 and 5). Read it beside
 * get_child and drop_child in src/kern/pte.c, unlink_slot in pt.c, and frame_grant.
 *
 * Proved: when withdrawing has returned, no table of the tenant's leads to the window T and no CPU has it in its
 * paging-structure caches, and it stays so until T is granted again; T is never reached by anybody but its tenant of the
 * time; it is linked at most once; counts don't go below zero; who withdraws tries again only when a link was made
 * meanwhile, or the parent was BUSY; nobody is stuck.
 *
 * The machine: owner A (CPU 0) grants T to tenant 1, withdraws it, puts a frame of its own into it, and grants it to
 * tenant 2, or to 1 again. CPUs 1 and 2 are those of the tenants: with -DSTRANGERS one each, else both of tenant 1; they link T
 * into a slot of parent table 1 or 2 and unlink it, LINKS times each. A withdrawal may be refused (-EAGAIN), once after it has
 * unlinked, and once before, because another CPU keeps the parent BUSY; then A may try to grant T anew without waiting, which
 * must see for itself that T is linked nowhere, and quiet.
 * At any time another CPU of A's may free T, and a stranger make it a window of its own, granted to tenant 1: A, still in the
 * call, must not unlink that.
 * Left out: the ticket (lock.pml), the epochs' inner life (epoch.pml): loading a root is one step. Bounds: LINKS,
 * ROUNDS of grant and withdrawal; T changes hands once.
 */
#ifndef LINKS
#define LINKS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte clock = 2, epoch[3] = 2;
bool cached[3];            /* the CPU's paging-structure caches lead to T */
bool locked[3], entry[3];  /* parents 1 and 2: the slot leads to T */
byte link, tenant, refs, stamp = 1; /* of T: 0, or the parent; 0, or the tenant */
byte held;                 /* a ghost: who may reach T */
byte owner = 1;            /* of T: A, or 2 */
#ifdef STRANGERS
#define tenant_of(c) (c)
#define reaches(c) entry[c]
#else
#define tenant_of(c) 1
#define reaches(c) (entry[1] || entry[2])
#endif

active proctype Hardware() {
end:	do
	:: atomic { !cached[1] && reaches(1) -> cached[1] = true; assert(held == tenant_of(1)) }
	:: atomic { !cached[2] && reaches(2) -> cached[2] = true; assert(held == tenant_of(2)) }
	od
}

#define unreached (!entry[1] && !entry[2] && !cached[1] && !cached[2])

inline load_root() { d_step { epoch[c] = clock; cached[c] = false } }
inline stamp_t() {
	s = clock;
	atomic { if :: stamp < s -> stamp = s :: else fi; s = 0 }
}
inline unref() { atomic { assert(refs > 0); refs-- } }
inline lock(p) { atomic { !locked[p] -> locked[p] = true } }

/* Parent p is locked: its link to T goes. */
inline drop_child(p) {
	entry[p] = false;                                            /* [link 1] LOCKed exchange */
#ifdef LINK_BEFORE_STAMP
	atomic { assert(link == p); link = 0 };
	stamp_t();
#else
	stamp_t();                                                   /* [link 2] */
	atomic { assert(link == p); link = 0 };                      /* [link 3] after the stamp: who reads 0 waits for it */
#endif
	unref()                                                      /* [link 4] strictly last */
}

inline link_t(p) {
	if
	:: tenant != tenant_of(c) -> goto unlock                     /* [link 5] */
	:: else
	fi;
	refs++;                                                      /* [link 6] CAS {type, owner, refs} */
#ifdef LINK_NO_CAS
	link = p;
#else
	atomic {
		if
		:: link == 0 -> link = p; won = true                 /* [link 7] CAS */
		:: else
		fi
	};
	if
	:: !won -> unref(); goto unlock
	:: else
	fi;
#endif
#ifdef RECHECK_LATE
	entry[p] = true;
	if
	:: tenant != tenant_of(c) -> entry[p] = false; link = 0; unref()
	:: else
	fi
#else
	if
#ifndef NO_RECHECK
	:: tenant != tenant_of(c) -> link = 0; unref()               /* [link 8] recheck: withdrawn meanwhile */
#endif
	:: else -> entry[p] = true                                   /* [link 9] */
	fi
#endif
}

proctype Cpu(byte c) {
	byte n, s, p;
	bool won;
user_mode:
end:	if
	:: epoch[c] < clock -> load_root(); goto user_mode
	:: n < LINKS -> n++
	fi;
	if
	:: p = c
#ifndef STRANGERS
	:: p = 3 - c
#endif
	fi;
	lock(p);                                                     /* [link 10] */
	if
	:: entry[p] -> drop_child(p)
	:: else -> link_t(p)
	fi;
unlock:	atomic { locked[p] = false; p = 0; won = false; s = 0 };
	goto user_mode
}

inline quiet_wait(s) {
	d_step { if :: clock == s -> clock++ :: else fi; epoch[c] = clock };
	epoch[1] > s; epoch[2] > s
}

inline withdraw() {
#ifndef TENANT_LAST
	atomic { if :: owner == 1 -> tenant = 0 :: else fi };        /* [link 11] exchange under T's lock, first */
#endif
	do
	:: l = link;                                                 /* [link 12] */
		if
		:: l == 0 -> break
		:: else
		fi;
		tries++;
#ifndef TENANT_LAST
		assert(tries <= LINKS + LINKS + 1);
#endif
		if
		:: busy > 0 -> busy--; gave_up = true; break         /* it is BUSY: -EAGAIN */
		:: lock(l)                                           /* [link 13] that parent's lock */
		fi;
		there = (link == l);                                 /* [link 14] under it: still this slot? */
#ifdef NO_REVALIDATE
		there = true;
#endif
		if
#ifndef NO_OWNER_CHECK
		:: there && owner != 1 -> skip                       /* [link 18] T has gone meanwhile: not A's to unlink */
		:: there && owner == 1 ->
#else
		:: there ->
#endif
			assert(owner == 1);
			drop_child(l)
		:: else
		fi;
		locked[l] = false;
		if
		:: there -> break
		:: else
		fi
	od;
#ifdef TENANT_LAST
	atomic { if :: owner == 1 -> tenant = 0 :: else fi };
#endif
	atomic { l = 0; there = false };
	if
	:: owner != 1 -> skip
	:: gave_up -> waited = false
	:: !gave_up && refusals > 0 -> refusals--; waited = false    /* -EAGAIN: unlinked, but not waited for */
	:: !gave_up && owner == 1 ->
#ifdef NO_WAIT_UNLINKED
		if
		:: tries > 0 -> s = stamp; quiet_wait(s)
		:: else
		fi;
#else
		s = stamp;
		quiet_wait(s);                                       /* [link 15] also when link was 0 already */
#endif
		atomic { if :: owner == 1 -> held = 0; waited = true; assert(unreached) :: else fi }
	fi;
	atomic { s = 0; tries = 0; gave_up = false }
}

proctype Owner() {
	byte c = 0, s, l, tries, n, to = 1, refusals = 1, busy = 1;
	bool waited = true, there, gave_up;
	do
	:: owner != 1 -> break
	:: owner == 1 && n < ROUNDS -> n++;
		/* frame_grant(T, to) */
		if
#ifndef GRANT_LINKED
		:: link != 0 && tenant_of(link) != to -> goto granted /* [link 19] linked by another still: -EBUSY */
		:: else
#else
		:: true
#endif
		fi;
		if
#ifndef GRANT_HOT
		:: !(epoch[1] > stamp && epoch[2] > stamp) -> skip   /* [link 16] not quiet: -EAGAIN */
		:: epoch[1] > stamp && epoch[2] > stamp ->
#else
		:: true ->
#endif
			atomic {
				if
				:: owner == 1 -> /* T's own lock is held */
					assert((!cached[1] || tenant_of(1) == to) && (!cached[2] || tenant_of(2) == to));
					held = to;
					tenant = to                  /* [link 17] */
				:: else
				fi
			}
		fi;
granted:	withdraw();
		/* what A now puts into T is A's alone */
		assert(!waited || owner != 1 || unreached);
		if
		:: to = 1
#ifdef STRANGERS
		:: to = 2
#endif
		fi
	:: owner == 1 && n == ROUNDS -> break
	od;
	refusals = 0;
	busy = 0;
	if
	:: !waited -> withdraw()                                     /* until it is 0 */
	:: else
	fi;
	assert(owner != 1 || unreached);
	timeout;
	assert(owner != 1 || (unreached && link == 0 && refs == 0))
}

/* Another CPU of A's frees T; a stranger claims it, and grants it to tenant 1. */
proctype Stranger() {
end:	atomic {
		refs == 0 && tenant == 0 && epoch[0] > stamp && epoch[1] > stamp && epoch[2] > stamp ->
		assert(!cached[1] && !cached[2]);
		owner = 2;
		held = 1;
		tenant = 1
	}
}

init {
	atomic { run Owner(); run Stranger(); run Cpu(1); run Cpu(2) }
}
