// The original Autobahn suite, group 9: messages of up to 16 MiB, in up to 65,536 fragments.
// parts: autobahn
// budget: 300 s

import { runAutobahn } from '../lib/autobahn.mjs';

runAutobahn('group 9', { cases: ['9.*'], count: 54 });
