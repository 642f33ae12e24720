/**
 * Chat templates are rendered as by transformers (golden file of test/golden/chat_templates.py),
 * and a template that fails, or never ends, is refused.
 */
import { cp, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { chatRenderer, type Message } from '../../../src/science/text/chat-template.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { present } from '../../rig/present.ts';
import { chatTemplate, goldenChats, tinyTokenizer } from './golden-tokenizers.ts';

const test = suite('chat templates');

const goldenFolder = new URL('../../golden/', import.meta.url);
const fault = (run: () => unknown, message: RegExp): void =>
  assert.throws(
    run,
    (error: unknown) => error instanceof UserFault && message.test(error.message),
    String(message),
  );

for (const [name, { tokenizer, texts }] of Object.entries(goldenChats.templates))
  test(`${name} is rendered as by transformers`, () => {
    const { chat } = tinyTokenizer(tokenizer, { chat_template: chatTemplate(name) });
    for (const [i, messages] of goldenChats.conversations.entries())
      for (const generationPrompt of [false, true]) {
        const expected = present(texts[i])[Number(generationPrompt)];
        if (expected === null) fault(() => chat(messages, { generationPrompt }), /fails: /);
        else assert.is(chat(messages, { generationPrompt }), expected);
      }
  });

const hello: Message[] = [{ role: 'user', content: 'Hello' }];
const render = (template: string): string =>
  chatRenderer(template, {}, 'x')(hello, { generationPrompt: true });

test('of several templates the one that is named default is taken', () => {
  const templates = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: '{{ messages[0].content }} {{ eos_token }}' },
  ];
  for (const list of [templates, { default: templates[1]?.template, other: 'x' }])
    assert.is(
      tinyTokenizer('qwen2', { chat_template: list }).chat(hello, { generationPrompt: false }),
      'Hello <|im_end|>',
    );
  for (const list of [[templates[0]], 7, [7]])
    fault(() => tinyTokenizer('qwen2', { chat_template: list }), /neither a text nor a list/);
});

test('a tokenizer without a template says how to get one', () => {
  let error: unknown;
  try {
    tinyTokenizer('gpt2').chat(hello, { generationPrompt: true });
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, 'gpt2: the tokenizer has no chat template');
  assert.match(String((error as UserFault).hint), 'chat_template.jinja');
});

test('a template that fails is named by the file that has it', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'chat-'));
  const configured = JSON.stringify({ chat_template: "{{ raise_exception('configured') }}" });
  await cp(
    new URL('tiny-bert/checkpoint/tokenizer.json', goldenFolder),
    join(dir, 'tokenizer.json'),
  );
  await writeFile(join(dir, 'tokenizer_config.json'), configured);
  const failure = async (): Promise<string> => {
    const { chat } = await openTokenizer(dir);
    try {
      return chat(hello, { generationPrompt: true });
    } catch (error) {
      return (error as Error).message.replace(dir, 'DIR');
    }
  };
  assert.is(await failure(), 'DIR/tokenizer_config.json: its chat template fails: configured');
  await writeFile(join(dir, 'chat_template.jinja'), "{{ raise_exception('own') }}");
  assert.is(await failure(), 'DIR/chat_template.jinja: its chat template fails: own');
});

test('strip takes what Python takes for white space, or the given characters', () => {
  assert.is(render("{{ '\x1c\x85 a\ufeff '.strip() }}|"), 'a\ufeff|');
  assert.is(render("{{ ' \ufeffa\x1f' | trim }}|"), '\ufeffa|');
  assert.is(render("{{ '--a-b--'.lstrip('-') ~ '--a-b--'.rstrip('-') }}"), 'a-b----a-b');
  assert.is(render("{% set d = {'a': ' b '} %}{{ d['a'].strip() }}|{{ d.a.lstrip() }}|"), 'b|b |');
});

test('values are equal as they are in Python', () => {
  const cases = ["'' == false", '0 == false', '1 == true', "'1' == 1", "'a' != 'b'"];
  assert.is(render(cases.map((code) => `{{ 'y' if ${code} else 'n' }}`).join('')), 'nyyny');
});

test('a text never depends on the day', () => {
  const guarded =
    "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}";
  assert.is(render(guarded), '2024');
  fault(() => render("{{ strftime_now('%Y') }}"), /its chat template fails/);
});

test('a template that is broken, endless or too large is refused', () => {
  fault(() => render('{% for x in %}'), /can't be read/);
  fault(() => render("{{ raise_exception('no system message') }}"), /fails: no system message/);
  fault(() => render('{{ messages[0].content.nothing() }}'), /fails/);
  fault(() => render('{% for i in range(1000000000) %}x{% endfor %}'), /range\(\) of 1000000000/);
  fault(() => render('x'.repeat(500_001)), /500001 characters/);
  const twice = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(21) %}";
  fault(
    () => render(`${twice}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}`),
    /makes 33554432 characters/,
  );
  const nested = '{% for i in range(100000) %}'.repeat(3) + '{% endfor %}'.repeat(3);
  fault(() => render(nested), /takes more than 3 s/);
});

test.run();
