import { expect, it } from 'vitest'
import { hostedTools } from './hosted.ts'

const search = { type: 'web_search_preview_2025_03_11', search_context_size: 'low' }
const server = { type: 'url', name: 'crm', url: 'https://crm.example/mcp' }

it.each([
  ['responses', { tools: [{ type: 'function', name: 'web_search' }, search] }, [['web_search', search]]],
  ['responses', { tools: [{ type: 'custom' }, { type: 'local_shell' }, { type: 'computer_use_preview' }, {}] }, []],
  ['responses', { tools: [{ type: 'tool_search', execution: 'client' }, { type: 'apply_patch' }] }, []],
  ['responses', { tools: [{ type: 'shell' }, { type: 'shell', environment: { type: 'local' } }] }, []],
  [
    'responses',
    { tools: [{ type: 'shell', environment: { type: 'container_auto' } }] },
    [['shell', expect.anything()]],
  ],
  ['responses', { tools: [{ type: 'mcp', server_label: 'crm' }] }, [['mcp', { type: 'mcp', server_label: 'crm' }]]],
  // What is not known may be done by the vendor.
  ['responses', { tools: [{ type: 'of_next_year' }] }, [['of_next_year', { type: 'of_next_year' }]]],
  ['chat', { tools: [{ type: 'function', function: { name: 'x' } }, { type: 'custom' }] }, []],
  [
    'responses',
    {
      tools: [
        search,
        {
          type: 'namespace',
          name: 'x',
          tools: [
            { type: 'function', name: 'y' },
            { type: 'mcp', n: 1 },
          ],
        },
      ],
      input: [
        { role: 'user', content: 'x' },
        { type: 'additional_tools', role: 'developer', tools: [{ type: 'mcp', n: 2 }, search] },
        {
          type: 'tool_search_output',
          tools: [
            { type: 'function', name: 'z' },
            { type: 'mcp', n: 3 },
          ],
        },
        { type: 'mcp_list_tools', tools: [{ name: 'z', input_schema: {} }] },
      ],
    },
    [['web_search', search], ...[1, 2, 3].map((n) => ['mcp', { type: 'mcp', n }])],
  ],
  ['responses', { input: 'x' }, []],
  ['chat', { web_search_options: {} }, [['web_search', {}]]],
  ['messages', { tools: [{ name: 'x', input_schema: {} }, { type: null, name: 'y' }, { type: 'bash_20250124' }] }, []],
  ['messages', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, [['web_search', expect.anything()]]],
  ['messages', { tools: [{ type: 'mcp_toolset' }], mcp_servers: [server] }, [['mcp', server]]],
  ['embeddings', { tools: [search] }, []],
] as const)('names what the vendor does by itself: %s, %j', (dialect, body, expected) => {
  // As a client's JSON comes.
  const calls = hostedTools(dialect, JSON.parse(JSON.stringify(body)))
  expect(calls.map(({ name, arguments: args }) => [name, JSON.parse(args)])).toEqual(expected)
})

it('does not say what lets the vendor in', () => {
  const tools = [{ type: 'mcp', authorization: 'secret' }]
  const input = [{ type: 'additional_tools', tools: [{ type: 'namespace', tools }] }]
  const mcp_servers = [{ ...server, authorization_token: 'secret' }]
  const calls = [...hostedTools('responses', { tools, input }), ...hostedTools('messages', { mcp_servers })]
  expect(calls.map(({ arguments: args }) => JSON.parse(args))).toEqual([
    { type: 'mcp', authorization: '[hidden]' },
    { ...server, authorization_token: '[hidden]' },
  ])
})
