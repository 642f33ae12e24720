import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../src/api.ts';
import { classId } from '../../src/poisoning/classes.ts';

const test = suite('class names');

test('a number is a label id; a text is a name first', () => {
  assert.is(classId(1, ['ham', 'spam'], 'target'), 1);
  assert.is(classId('ham', ['ham', 'spam'], 'target'), 0);
  assert.is(classId('1', ['ham', 'spam'], 'target'), 1);
  assert.is(classId('1', ['1', '0'], 'target'), 0);
  assert.is(classId(1, ['0', '1'], 'target'), 1);
});

test("a number that is another class's name is refused, and either name offered", () => {
  const fault = (value: number): UserFault => {
    try {
      classId(value, ['1', '2'], 'target');
    } catch (error) {
      return error as UserFault;
    }
    throw new Error('no fault was raised');
  };
  assert.is(
    fault(1).message,
    '`target`: 1 is the label id of the class "2", and the name of the class with label id 0.',
  );
  assert.is(fault(1).hint, 'Write the name in quotes: "2" or "1".');
  assert.is(
    fault(2).message,
    '`target`: 2 is no label id, and the name of the class with label id 1.',
  );
  assert.is(fault(2).hint, 'Write the name in quotes: "2".');
});

test("an unknown class is the user's fault, with the classes and the nearest one", () => {
  const fault = (value: string | number, classes = ['ham', 'spam']): UserFault => {
    try {
      classId(value, classes, 'target');
    } catch (error) {
      return error as UserFault;
    }
    throw new Error('no fault was raised');
  };
  assert.instance(fault('spma'), UserFault);
  assert.is(
    fault('spma').message,
    '`target`: there is no class "spma"; the classes are 0 ("ham"), 1 ("spam").',
  );
  assert.is(fault('spma').hint, 'Did you mean "spam"?');
  for (const value of [2, -1, 0.5, '2', ''])
    assert.match(fault(value).message, 'there is no class');
  const many = Array.from({ length: 12 }, (_, id) => `class ${id}`);
  assert.match(
    fault('spam', many).message,
    /are 0 \("class 0"\), .*, 7 \("class 7"\) and 4 more\.$/,
  );
});

test.run();
