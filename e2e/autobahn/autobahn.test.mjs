// The original Autobahn suite, groups 1 to 7 and 10, against the echo of the test profile; each of its cases is one of ours.
// parts: autobahn
// budget: 600 s

import { runAutobahn } from '../lib/autobahn.mjs';

runAutobahn('groups 1 to 7 and 10', { cases: ['1.*', '2.*', '3.*', '4.*', '5.*', '6.*', '7.*', '10.*'], count: 247 });
