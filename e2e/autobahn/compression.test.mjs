// The original Autobahn suite, group 12.1: permessage-deflate over messages of all sizes.
// parts: autobahn
// budget: 300 s

import { runAutobahn } from '../lib/autobahn.mjs';

runAutobahn('group 12.1', { cases: ['12.1.*'], count: 18 });
