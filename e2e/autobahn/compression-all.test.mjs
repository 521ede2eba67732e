// The original Autobahn suite, groups 12 and 13 whole: permessage-deflate with every offer that a client may make. It takes half an hour on two
// slow cores; the usual run has group 12.1, and our own port of all 216 cases (crates/wire/tests/autobahn).
// parts: autobahn
// budget: 3600 s
// long

import { runAutobahn } from '../lib/autobahn.mjs';

runAutobahn('groups 12 and 13', { cases: ['12.*', '13.*'], count: 216 });
