/** `npm run test:faults -- --full`, or the short count. */
export const times = (short: number, long: number): number =>
  process.env['DOSIMETER_TESTS_FULL'] === '1' ? long : short;
