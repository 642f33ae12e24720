/** The long count under `npm run test:NAME -- --full`, otherwise the short one. */
export const times = <T>(short: T, long: T): T =>
  process.env['DOSIMETER_TESTS_FULL'] === '1' ? long : short;
