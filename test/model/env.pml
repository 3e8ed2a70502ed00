/*
 * env.pml - the death of an env against walks of authority and name look-ups that are under way. Read it beside
 * env_within, env_lookup, env_die, retype_to_data and free_one in src/kern/frame.c.
 *
 * Proved: a walk from a frame's owner upward never reads the record of a frame that has become something else; a look-up
 * that succeeds has found the env of that name, whose frame stays that env's to the end of the call; the quota of a
 * dead env goes to its parent, once.
 *
 * The machine: frame E is an ENV, child of P, and owns frame F. CPU 0 walks from F's owner; CPU 1 looks up a name of
 * E's (of its first or its second life); both in a call that starts at any time, and between calls they load their root
 * (the epochs of epoch.pml in one step: that they work is proved there). CPU 2 frees F, then retypes E to DATA, writes
 * the old serial's bits into it, and retypes it to ENV again; CPU 3 retypes E to DATA, too, at any time.
 * Left out: depth, frozen, the CAS loop around `dead`. Bounds: two lives of E, CALLS calls each, TICKS of the clock, two who bury it.
 */
#ifndef TICKS
#define TICKS 1
#endif
#ifndef CALLS
#define CALLS 2
#endif
#define BUSY 3
mtype = { FREE, DATA, ENV, CLAIMED };

byte clock = 2, epoch[4] = 2; /* of the CPUs that walk and that bury */
mtype f_type = DATA, e_type = ENV;
bool f_owned = true, e_owned_by_p = true; /* E's owner stays readable in BUSY */
byte e_life = 1;        /* which env the record has been: a ghost */
byte serial = 1;        /* word of the frame */
bool dead;              /* likewise: account {owned, dead, quota} */
byte owned = 1, quota = 5, p_quota = 5;
byte stamp = 1;
byte refusals = 1, ticks = TICKS;

inline load_root() { d_step { epoch[c] = clock } }

inline quiet_wait(s) {
	d_step { if :: clock == s -> clock++ :: else fi; epoch[c] = clock };
	epoch[0] > s; epoch[1] > s; epoch[2] > s || c == 2; epoch[3] > s || c == 3
}

active proctype Timer() {
end:	do
	:: atomic { ticks > 0 -> ticks--; clock++ }
	od
}

proctype Walker() {
	byte c = 0, calls, life;
end:	do
	:: calls < CALLS -> calls++;
		if
		:: f_owned ->                                        /* [env 1] one load of the state word: F's owner is E */
			life = e_life;
#ifdef WALK_ACROSS_LOAD
			load_root();
#endif
			assert(e_type == ENV && e_life == life || e_type == CLAIMED && e_life == life) /* [env 2] E's record, for its owner */
		:: else
		fi;
		life = 0;
		load_root()
	:: epoch[c] < clock -> load_root() /* ticks, flushes */
	od
}

proctype Lookup() {
	byte c = 1, calls, name, found;
	bool was_dead;
end:	do
	:: calls < CALLS -> calls++;
		if
		:: name = 1
		:: name = 2
		fi;
		if
		:: e_type != ENV -> goto refused                     /* [env 3] */
		:: else
		fi;
#ifdef SERIAL_FIRST
		if
		:: serial != name -> goto refused
		:: else
		fi;
#endif
		was_dead = dead;                                     /* [env 4] account */
		if
		:: e_type != ENV -> goto refused                     /* [env 5] only then was that its account */
#ifndef DEAD_PASSES
		:: e_type == ENV && was_dead -> goto refused
#endif
		:: else
		fi;
#ifndef SERIAL_FIRST
		if
		:: serial != name -> goto refused                    /* [env 6] last: an env made meanwhile stays for this call */
		:: else
		fi;
#endif
		found = e_life;
		assert(found == name);
		skip; /* the rest of the call */
		assert(e_life == found && (e_type == ENV || e_type == CLAIMED));
refused:	atomic { name = 0; found = 0; was_dead = false };
		load_root()
	:: epoch[c] < clock -> load_root()
	od
}

/* frame_retype(E, DATA) */
inline bury() {
	mine = false;
#ifndef DIE_UNCLAIMED
	atomic {
		if
		:: e_type == ENV -> e_type = CLAIMED; mine = true    /* [env 7] BUSY first: nobody else buries it meanwhile */
		:: else
		fi
	};
	if
	:: !mine -> goto out
	:: else
	fi;
#else
	if
	:: e_type != ENV -> goto out
	:: else
	fi;
#endif
#ifdef STAMP_BEFORE_DEAD
	s = clock;
	atomic { if :: stamp < s -> stamp = s :: else fi };
#endif
	atomic {
		if
		:: owned != 0 -> refused = true
		:: owned == 0 && dead -> again = true
		:: owned == 0 && !dead -> dead = true; got = quota; quota = 0 /* [env 8] CAS: dead at owned = 0 */
		fi
	};
	if
	:: !refused && !again ->
		life = e_life;
		assert(e_owned_by_p && e_type != DATA && e_type != FREE); /* its owner is read: */
		p_quota = p_quota + got;                             /* [env 9] */
#if !defined(STAMP_BEFORE_DEAD) && !defined(NO_DEAD_STAMP)
		s = clock;
		atomic { if :: stamp < s -> stamp = s :: else fi }   /* [env 10] once */
#endif
	:: else
	fi;
#ifdef DIE_UNCLAIMED
	if
	:: refused -> goto out
	:: else
	fi;
	atomic {
		if
		:: e_type == ENV -> e_type = CLAIMED; mine = true
		:: else
		fi
	};
	if
	:: !mine -> goto out
	:: else
	fi;
#endif
	if
	:: refused -> e_type = ENV                                   /* [env 11] */
	:: !refused && refusals > 0 -> refusals--; e_type = ENV      /* -EAGAIN: it stays an ENV, dead */
	:: !refused ->
		s = stamp;
		quiet_wait(s);                                       /* [env 12] */
		atomic { e_life = e_life + (e_life == 1); dead = false; serial = 0; e_type = DATA; buried = true }
	fi;
out:	atomic { refused = false; again = false; got = 0; s = 0; life = 0; mine = false }
}

proctype Bury() {
	byte c = 2, s, got, life;
	bool refused, again, mine, buried;
	atomic { f_type == DATA -> f_type = CLAIMED };
#ifdef RETURN_EARLY
	owned--;
#endif
	atomic { f_type = FREE; f_owned = false };                   /* [env 13] nobody finds E by F any more */
#ifndef RETURN_EARLY
	owned--;                                                     /* [env 14] only then: E may die */
#endif
	load_root();
	do
	:: e_type == ENV -> bury(); load_root() /* -EBUSY: again */
	:: e_type == DATA -> break
	:: epoch[c] < clock -> load_root()
	od;
	/* DATA: its owner writes what it likes, and makes it an ENV again */
	serial = 1;
	atomic { e_type == DATA -> e_type = CLAIMED };
	s = stamp;
	if
	:: epoch[0] > s && epoch[1] > s && epoch[3] > s -> skip
	:: else -> quiet_wait(s)
	fi;
	atomic { dead = false; quota = 0 };
	serial = 2;
	e_type = ENV;                                                /* [env 15] */
end:	do
	:: epoch[c] < clock -> load_root()
	od
}

proctype Bury2() {
	byte c = 3, s, got, life;
	bool refused, again, mine, buried;
	if
	:: e_life == 1 -> bury()
	:: true
	fi;
end:	do
	:: epoch[c] < clock -> load_root()
	od
}

init {
	atomic { run Walker(); run Lookup(); run Bury(); run Bury2() }
end:	timeout;
	assert(p_quota == 10)
}
