import * as assert from 'uvu/assert';

/** Asserts that a promise is rejected with a message that matches. */
export async function rejects(promise: Promise<unknown>, message: RegExp): Promise<void> {
  let error: unknown;
  await promise.catch((thrown: unknown) => {
    error = thrown;
  });
  assert.ok(error instanceof Error, 'it was not rejected');
  assert.match(error.message, message);
}
