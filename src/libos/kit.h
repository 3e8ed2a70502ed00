/* SPDX-License-Identifier: MIT */
/* kit.h - everything, for programs that do not care which part. Parts include only what they use. */
#pragma once

#include "abi.h"
#include "batch.h"
#include "console.h"
#include "env.h"
#include "frames.h"
#include "heap.h"
#include "machine.h"
#include "maps.h"
#include "meta.h"
#include "mm.h"
#include "plan.h"
#include "region.h"
#include "space.h"
#include "start.h"
#include "sync.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"
