import * as assert from 'uvu/assert';

/** Returns the message of the UserFault that the work throws, or says that it threw none. */
export async function faultOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'nothing was refused';
  } catch (error) {
    assert.is((error as Error).name, 'UserFault');
    return (error as Error).message;
  }
}
