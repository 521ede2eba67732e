// The original Autobahn suite, groups 12 and 13: permessage-deflate with every offer that a client may make.
// parts: autobahn
// budget: 2400 s
// long

import { runAutobahn } from '../lib/autobahn.mjs';

runAutobahn('groups 12 and 13', { cases: ['12.*', '13.*'], count: 216 });
