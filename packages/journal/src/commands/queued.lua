--[[
  Included by commands that read runs which nobody has taken yet. Such a run is one string: 32 bytes
  hash of its first entry, 32 bytes digest of its content, 16 bytes digest of its shape, then as text
  the time of creation (ms), the entry's own fields (a piece of JSON, often empty), a line feed, and
  the content. The shape is what many runs have in common: a piece of JSON that is stored once and
  counts its uses. `first-entry.ts` writes this and says the same in TypeScript.
]]
local function hex(record, from, to)
  return string.format(string.rep('%02x', to - from + 1), string.byte(record, from, to))
end

local function shapeKey(tag, record)
  return tag .. ':shape:' .. hex(record, 65, 80)
end

-- Gives the first entry of a queued run: its hash, its exact bytes, its content.
local function expand(tag, id, record)
  local line = string.find(record, '\n', 81, true)
  local text = string.sub(record, 81, line - 1)
  local at = string.match(text, '^%d+')
  local bytes = '{"v":1,"seq":1,"at":' .. at .. ',"type":"run.created","run":"' .. id .. '"'
    .. string.sub(text, #at + 1) .. ',' .. redis.call('HGET', shapeKey(tag, record), 'text')
    .. ',"content":"' .. hex(record, 33, 64) .. '"}'
  return hex(record, 1, 32), bytes, string.sub(record, line + 1)
end
