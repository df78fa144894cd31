// Writes docs/sdk.md from the SDK's types and their comments: node runtime/node/sdk/reference.mjs [--check]
//
// --check writes nothing, and exits with 1 when the page is not as the types say.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = fileURLToPath(new URL('.', import.meta.url));
const PAGE = path.join(here, '../../../docs/sdk.md');

/** The page, in its order: file, heading, what the chapter is about. */
const CHAPTERS = [
  ['functions', 'Declaring functions', 'A function\'s file has one default export, made by one of these.'],
  ['context', 'The context', 'What handlers are given: `bulkhead`, or `nango` in existing code.'],
  ['proxy', 'Requests and pages', 'What `proxy`, `get`, `post`, `put`, `patch`, `delete` and `paginate` take and give.'],
  ['schema', 'Schemas and values', 'Types that the others are made of.'],
];

const HEAD = `# The SDK

Made from \`runtime/node/sdk/types\` by \`runtime/node/sdk/reference.mjs\`; a test holds it up to date.

\`\`\`ts
import { createAction, createSync, createWebhook, createOnEvent, ActionError } from 'bulkhead';
\`\`\`

Functions that were written for Nango's SDK import the same from \`nango\`, and run as they are. How a project is laid out is
told in [the tutorial](tutorial.md), how functions are tested in [testing](testing.md).
`;

const printer = ts.createPrinter({ removeComments: true });

function commentOf(node) {
  const [last] = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).slice(-1);
  if (last === undefined) return '';
  const text = ts.getTextOfJSDocComment(last.comment) ?? '';
  const deprecated = last.tags?.find((tag) => tag.tagName.text === 'deprecated');
  const old = deprecated === undefined ? '' : `**Deprecated.** ${ts.getTextOfJSDocComment(deprecated.comment) ?? ''}`;
  return [text, old].filter((part) => part !== '').join(' ').replaceAll('\n', ' ').trim();
}

function code(node, source) {
  return printer.printNode(ts.EmitHint.Unspecified, node, source).replaceAll(/\s+/g, ' ').replace(/;$/, '').replace(/^(export |declare )+/, '');
}

/** A cell: a pipe would end it. */
const cell = (text) => text.replaceAll('|', '\\|');

function membersOf(node, source) {
  const rows = node.members.filter((member) => member.name !== undefined || ts.isConstructorDeclaration(member));
  if (rows.length === 0) return '';
  const lines = rows.map((member) => `| \`${cell(code(member, source))}\` | ${cell(commentOf(member))} |`);
  return ['| member | |', '|---|---|', ...lines, ''].join('\n');
}

function headingOf(node, source) {
  const parameters = node.typeParameters?.map((parameter) => code(parameter, source)).join(', ');
  const bases = node.heritageClauses?.map((clause) => code(clause, source)).join(' ') ?? '';
  return { name: node.name.text, shape: `${node.name.text}${parameters ? `<${parameters}>` : ''}${bases ? ` ${bases}` : ''}` };
}

function sectionOf(node, source) {
  const comment = commentOf(node);
  if (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) {
    const { name, shape } = headingOf(node, source);
    const shown = shape === name ? '' : `\`${shape}\`\n\n`;
    return `### ${name}\n\n${comment === '' ? '' : `${comment}\n\n`}${shown}${membersOf(node, source)}`;
  }
  const name = node.name.text;
  const kind = ts.isFunctionDeclaration(node) ? '()' : '';
  return `### ${name}${kind}\n\n${comment === '' ? '' : `${comment}\n\n`}\`\`\`ts\n${code(node, source)}\n\`\`\`\n`;
}

export function page() {
  const parts = [HEAD];
  for (const [file, heading, about] of CHAPTERS) {
    const name = path.join(here, 'types', `${file}.d.ts`);
    const source = ts.createSourceFile(name, fs.readFileSync(name, 'utf8'), ts.ScriptTarget.Latest, true);
    const shown = source.statements.filter((node) => node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword));
    parts.push(`## ${heading}\n\n${about}\n`, ...shown.map((node) => sectionOf(node, source)));
  }
  return `${parts.join('\n').replaceAll(/\n{3,}/g, '\n\n').trimEnd()}\n`;
}

/** Exported members without a comment, as FILE: NAME.MEMBER. */
export function undocumented() {
  const found = [];
  for (const [file] of CHAPTERS) {
    const name = path.join(here, 'types', `${file}.d.ts`);
    const source = ts.createSourceFile(name, fs.readFileSync(name, 'utf8'), ts.ScriptTarget.Latest, true);
    for (const node of source.statements.filter((statement) => statement.modifiers !== undefined)) {
      if (commentOf(node) === '') found.push(`${file}: ${node.name?.text}`);
      for (const member of node.members ?? []) {
        if (member.name !== undefined && commentOf(member) === '') found.push(`${file}: ${node.name.text}.${member.name.getText(source)}`);
      }
    }
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const written = fs.existsSync(PAGE) ? fs.readFileSync(PAGE, 'utf8') : '';
  const wanted = page();
  if (!process.argv.includes('--check')) fs.writeFileSync(PAGE, wanted);
  else if (written !== wanted) {
    process.stderr.write('docs/sdk.md is not what the SDK\'s types say: node runtime/node/sdk/reference.mjs\n');
    process.exitCode = 1;
  }
}
