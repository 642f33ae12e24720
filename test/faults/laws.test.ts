/**
 * The laws of expansion and of keys. `npm test` checks them too; `test:faults -- --full` checks
 * them on twenty times as many random specs. There is no `test.run()` here, since each of the two
 * files runs its own tests when it is imported.
 */
import '../spec/properties.test.ts';
import '../plan/properties.test.ts';
