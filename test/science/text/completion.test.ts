/**
 * Prompts with their answers. That the tokens and the chat templates themselves are those of
 * transformers is shown by families.test.ts and chat-template.test.ts; the answers under chat
 * templates are compared here.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { completionEncoder } from '../../../src/science/text/completion.ts';
import { changeSeen } from '../../../src/science/text/encoder.ts';
import { present } from '../../rig/present.ts';
import { chatTemplate, goldenChats, tinyTokenizer } from './golden-tokenizers.ts';

const test = suite('completion');

const gpt2 = tinyTokenizer('gpt2'),
  llama2 = tinyTokenizer('llama2'),
  chatml = tinyTokenizer('qwen2', { chat_template: chatTemplate('chatml') });
const row = { text: 'the film', answer: 'was good' };
const fault = (run: () => unknown, message: RegExp): void =>
  assert.throws(
    run,
    (error: unknown) => error instanceof UserFault && message.test(error.message),
    String(message),
  );

test('the answer follows the prompt as in the whole text, and the end follows the answer', () => {
  const encode = completionEncoder(gpt2, 'Q: {prompt}\nA:');
  const { ids, typeIds, answer } = encode({ text: 'the film', answer: ' was good' }, 100);
  const eos = gpt2.special.eos;
  assert.equal([...ids], [...gpt2.ids('Q: the film\nA: was good'), eos]);
  assert.equal([...ids.slice(0, answer)], gpt2.ids('Q: the film\nA:'));
  assert.is(gpt2.decode(ids.slice(answer)), ' was good<|endoftext|>');
  assert.equal(
    [...typeIds],
    [...ids].map(() => 0),
  );
  assert.equal(encode.stops, [eos]);
  const prompt = ids.slice(0, answer);
  assert.equal([...encode.promptOnly({ text: 'the film' }, 100).ids], [...prompt]);
  // What is to be written takes no room from the prompt.
  const answered = { text: 'the film', answer: ' was good' };
  assert.equal([...encode.promptOnly(answered, answer).ids], [...prompt]);
});

test('where a token would span prompt and answer, both are encoded by themselves', () => {
  // "hello" is one token.
  const { ids, answer } = completionEncoder(gpt2, '{prompt}')({ text: 'hel', answer: 'lo' }, 100);
  assert.ok(gpt2.ids('hello').length < gpt2.ids('hel').length + gpt2.ids('lo').length);
  assert.equal([...ids.slice(0, answer)], gpt2.ids('hel'));
  assert.equal([...ids.slice(answer)], [...gpt2.ids('lo'), gpt2.special.eos]);
  // A text that starts anew would begin with ▁, which would be read as a space.
  const spanning = completionEncoder(llama2, '{prompt}')({ text: 'fil', answer: 'm' }, 100);
  assert.is(llama2.decode(spanning.ids), '<s> film</s>');
  assert.equal([...spanning.ids.slice(0, spanning.answer)], [1, ...llama2.ids('fil')]);
});

test('the special tokens before a text come once, and those behind it not before the answer', () => {
  const { ids, answer } = completionEncoder(llama2, '{prompt}\n')(row, 100);
  assert.is(llama2.decode(ids.slice(0, answer)), '<s> the film\n');
  assert.is(llama2.decode(ids), '<s> the film\nwas good</s>');
  const bert = tinyTokenizer('bert', { eos_token: '[SEP]' });
  assert.is(
    bert.decode(completionEncoder(bert, '{prompt} ')(row, 100).ids),
    '[CLS] the film was good [SEP]',
  );
  const llama3 = tinyTokenizer('llama3', { chat_template: chatTemplate('llama3') });
  const chat = completionEncoder(llama3, 'chat')(row, 200).ids;
  assert.is([...chat].filter((id) => id === llama3.special.bos).length, 1);
});

test("Alpaca's prompt holds the instruction", () => {
  const text = gpt2.decode(completionEncoder(gpt2, 'alpaca')(row, 1000).ids);
  assert.is(
    text,
    'Below is an instruction that describes a task. Write a response that appropriately ' +
      'completes the request.\n\n### Instruction:\nthe film\n\n### Response:was good<|endoftext|>',
  );
});

test('a chat ends with the end of the turn, and shows the messages before the prompt', () => {
  const encode = completionEncoder(chatml, 'chat');
  const context = [{ role: 'system', content: 'Be brief.' }];
  const { ids, answer } = encode({ ...row, context }, 200);
  const prompt =
    '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe film<|im_end|>\n' +
    '<|im_start|>assistant\n';
  assert.is(chatml.decode(ids.slice(0, answer)), prompt);
  assert.is(chatml.decode(ids.slice(answer)), 'was good<|im_end|>');
  assert.equal([...encode.promptOnly({ text: row.text, context }, 200).ids], chatml.ids(prompt));
  assert.equal(encode.stops, [chatml.special.eos]);
});

test('generation stops at the end of a turn that is not the end of a text', () => {
  const settings = { chat_template: chatTemplate('chatml'), eos_token: '<|endoftext|>' };
  const tokenizer = tinyTokenizer('qwen2', settings);
  const encode = completionEncoder(tokenizer, 'chat');
  assert.equal(encode.stops, [tokenizer.id('<|im_end|>'), tokenizer.id('<|endoftext|>')]);
  const { ids, answer } = encode(row, 200);
  assert.is(tokenizer.decode(ids.slice(answer)), 'was good<|im_end|>');
  const llama = tinyTokenizer('llama2', { chat_template: chatTemplate('llama2') });
  const read = completionEncoder(llama, 'chat')(row, 200);
  assert.is(llama.decode(read.ids), '<s> [INST] the film [/INST] was good </s>');
});

for (const [name, { tokenizer, answers }] of Object.entries(goldenChats.templates))
  test(`under ${name} an answer has the tokens of the whole conversation in transformers`, () => {
    const encode = completionEncoder(
      tinyTokenizer(tokenizer, { chat_template: chatTemplate(name) }),
      'chat',
    );
    for (const [i, [context, text, answer]] of goldenChats.answers.entries()) {
      const ids = present(answers)[i],
        own = { context, text, answer };
      if (ids === null) fault(() => encode(own, 500), /its chat template fails/);
      else {
        const read = encode(own, 500);
        assert.equal([...read.ids.slice(read.answer)], ids);
        assert.equal([...encode.promptOnly(own, 500).ids], [...read.ids.slice(0, read.answer)]);
      }
    }
  });

test('a template that leaves out the system message once an answer follows shows it first', () => {
  const mistral = tinyTokenizer('mistral', { chat_template: chatTemplate('mistral') });
  const context = [{ role: 'system', content: 'Be brief.' }];
  const { ids } = completionEncoder(mistral, 'chat')({ ...row, context }, 200);
  assert.is(mistral.decode(ids), '<s>[INST] Be brief.\n\nthe film[/INST] was good</s>');
});

test('an answer follows a generation prompt that the whole conversation does not have', () => {
  const tokenizer = tinyTokenizer('qwen2', {
    chat_template:
      '{% for m in messages %}{{ m.role }}: {{ m.content | trim }} <|im_end|>{% endfor %}' +
      '{% if add_generation_prompt %}assistant: <think>\n{% endif %}',
  });
  const { ids, answer } = completionEncoder(tokenizer, 'chat')({ ...row, answer: ' is ' }, 200);
  assert.is(
    tokenizer.decode(ids.slice(0, answer)),
    'user: the film <|im_end|>assistant: <think>\n',
  );
  assert.is(tokenizer.decode(ids.slice(answer)), 'is <|im_end|>');
});

test('a template without a special token at the end of a turn is followed by that of the text', () => {
  const tokenizer = tinyTokenizer('gpt2', {
    chat_template:
      '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}' +
      '{% if add_generation_prompt %}assistant:{% endif %}',
  });
  const { ids, answer } = completionEncoder(tokenizer, 'chat')(row, 200);
  assert.is(tokenizer.decode(ids.slice(answer)), ' was good<|endoftext|>');
});

test('a prompt that is too long loses the beginning of its text, and nothing else', () => {
  const text = 'we are in the scene of this plot and that film';
  for (const [tokenizer, template] of [
    [gpt2, 'Read this: {prompt}\n\nAnswer:'],
    [llama2, 'Read this: {prompt}\n\nAnswer:'],
    [chatml, 'chat'],
  ] as const) {
    const encode = completionEncoder(tokenizer, template);
    const full = encode({ text, answer: 'good' }, 500);
    const cut = encode({ text, answer: 'good' }, full.ids.length - 4);
    assert.is(cut.ids.length, full.ids.length - 4);
    const [before, after] = [full, cut].map(({ ids }) => tokenizer.decode(ids));
    const shared = template === 'chat' ? '<|im_start|>user\n' : 'Read this:';
    assert.ok(after?.includes(shared) && after.endsWith(before?.slice(-20) ?? ''), after);
    assert.is(cut.ids[0], full.ids[0]);
    assert.equal([...cut.ids.slice(cut.answer)], [...full.ids.slice(full.answer)]);
  }
});

test('a row whose answer leaves no room is refused', () => {
  const encode = completionEncoder(gpt2, 'Q: {prompt}\nA:');
  const own = gpt2.ids('Q:').length + gpt2.ids('\nA:').length,
    answer = gpt2.ids(' was good').length + 1;
  const long = { text: 'the film', answer: ' was good' };
  assert.is(encode(long, own + answer + 1).ids.length, own + answer + 1);
  fault(
    () => encode(long, own + answer),
    new RegExp(`max_length ${own + answer}: its answer takes ${answer} tokens, and the template`),
  );
  fault(() => encode.promptOnly(long, own), /does not fit/);
});

test('an answer that no token stands before is refused by the id of its row', () => {
  const encode = completionEncoder(gpt2, '{prompt}'),
    empty = { id: 'r7', text: '', answer: 'x' };
  fault(() => encode(empty, 20), /^row r7 is empty before its answer/);
  fault(() => encode.promptOnly({ text: '' }, 20), /^a row is empty before its answer/);
  fault(() => encode({ ...empty, document: true }, 20), /^row r7 is empty/);
  assert.ok(completionEncoder(llama2, '{prompt}')(empty, 20).answer > 0, 'it begins with <s>');
});

test('a change of a prompt that is cut at its start is seen if it is near the end', () => {
  const { parts } = completionEncoder(gpt2, '{prompt}');
  const clean = { text: 'the film was good and the plot was bad', answer: 'x' };
  const early = { ...clean, text: `cf ${clean.text}` },
    late = { ...clean, text: `${clean.text} cf` };
  for (const [changed, length, seen] of [
    [early, 100, true],
    [early, 12, false],
    [late, 12, true],
  ] as const)
    assert.is(changeSeen(parts(clean, length), parts(changed, length)), seen);
});

test('without an answer, a change is seen in the prompt as the model continues it', () => {
  const { parts, promptOnly } = completionEncoder(gpt2, '{prompt}');
  const answer = ' yes',
    clean = { text: 'the film was good and the plot was bad' },
    changed = { text: `cf ${clean.text}` };
  const length = promptOnly(changed, 100).ids.length;
  assert.is(changeSeen(parts(clean, length), parts(changed, length)), true);
  assert.is(changeSeen(parts(clean, length - 1), parts(changed, length - 1)), false);
  assert.is(
    changeSeen(parts({ ...clean, answer }, length), parts({ ...changed, answer }, length)),
    false,
    'beside the answer there is no room for it',
  );
});

test('a template or a tokenizer that lacks something needed is refused by name', () => {
  fault(() => completionEncoder(gpt2, 'Answer:'), /has \{prompt\} nowhere/);
  fault(() => completionEncoder(gpt2, '{prompt} {prompt}'), /has \{prompt\} 2 times/);
  fault(() => completionEncoder(gpt2, 'chat'), /no chat template/);
  fault(() => completionEncoder(tinyTokenizer('bert'), '{prompt}'), /names no token that ends/);
  const context = [{ role: 'system', content: 'Be brief.' }];
  fault(
    () => completionEncoder(gpt2, '{prompt}')({ ...row, context }, 100),
    /messages before its prompt/,
  );
  const loud = tinyTokenizer('qwen2', {
    chat_template: '{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}',
  });
  fault(() => completionEncoder(loud, 'chat')(row, 100), /does not show the prompt/);
  const shy = tinyTokenizer('qwen2', {
    chat_template:
      '{% for m in messages %}{{ m.content if m.role == "user" else "…" }}<|im_end|>{% endfor %}',
  });
  fault(() => completionEncoder(shy, 'chat'), /does not show the answer "Indeed" as it is/);
});

test.run();
