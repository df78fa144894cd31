// Functions for tests: what misbehaves, and what must work.
import './misbehaving/actions/big-output.js';
import './misbehaving/actions/cancel-me.js';
import './misbehaving/actions/crash.js';
import './misbehaving/actions/disk.js';
import './misbehaving/actions/exit.js';
import './misbehaving/actions/fork.js';
import './misbehaving/actions/heap.js';
import './misbehaving/actions/inodes.js';
import './misbehaving/actions/leave-traces.js';
import './misbehaving/actions/log-flood.js';
import './misbehaving/actions/look-for-traces.js';
import './misbehaving/actions/loop-cpu.js';
import './misbehaving/actions/loop.js';
import './misbehaving/actions/memory.js';
import './misbehaving/actions/never-settles.js';
import './misbehaving/actions/throws.js';
import './features/actions/features.js';
