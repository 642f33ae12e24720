/** `npm run test:faults -- --full`, or the short count. */
export const times = <T>(short: T, long: T): T =>
  process.env['DOSIMETER_TESTS_FULL'] === '1' ? long : short;
