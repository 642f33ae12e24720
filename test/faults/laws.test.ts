/** The laws of expansion and of keys: `npm test` holds them too, the full count of faults over twenty times as many draws. */
import '../experiment/properties.test.ts';
import '../plan/properties.test.ts';
