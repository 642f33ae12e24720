/**
 * The laws of expansion and of keys. `npm test` checks them too; `test:faults -- --full` checks
 * them on twenty times as many random specs.
 */
import '../spec/properties.test.ts';
import '../plan/properties.test.ts';
