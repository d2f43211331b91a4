-- Heads on their way to the ledgers: a line for each, many of a tenant in one record, so that a batch costs little.
local HEADS_MAX = 200
local headLines = {}
local function addHeads(tag, now, tenant, lines)
  redis.call('XADD', tag .. ':heads:' .. tenant, '*', 'at', now, 'heads', table.concat(lines, '\n'))
  redis.call('ZADD', tag .. ':unsealed', 'NX', now, tenant)
end
local function noteHead(tag, now, tenant, run, seq, head, state)
  local lines = headLines[tenant]
  if not lines then
    lines = {}
    headLines[tenant] = lines
  elseif #lines == HEADS_MAX then
    addHeads(tag, now, tenant, lines)
    lines = {}
    headLines[tenant] = lines
  end
  lines[#lines + 1] = run .. ' ' .. seq .. ' ' .. head .. ' ' .. state
end
local function sendHeads(tag, now)
  for tenant, lines in pairs(headLines) do
    addHeads(tag, now, tenant, lines)
  end
end
