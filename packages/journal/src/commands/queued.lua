--[[
  Included by commands that read runs which nobody has taken yet. Such a run is one string: 32 bytes
  hash of its first entry, 32 bytes digest of its content, 16 bytes digest of its shape, then as text
  the time of creation (ms), the entry's own fields (a piece of JSON, often empty), a line feed, and
  the content. The shape is what many runs have in common: a piece of JSON that is stored once and
  counts its uses. `first-entry.ts` writes this and says the same in TypeScript.
]]
-- Four bytes to eight digits at a time: with %02x for each byte this was most of what taking a run up cost.
local tohex = bit.tohex

local function hex16(record, at)
  local a, b, c, d = struct.unpack('>I4I4I4I4', record, at)
  return tohex(a) .. tohex(b) .. tohex(c) .. tohex(d)
end

local function hex32(record, at)
  return hex16(record, at) .. hex16(record, at + 16)
end

local shapes = {}

-- Gives the shape of a queued run, read once in a call: its key, and its text.
local function shapeOf(tag, record)
  local digest = string.sub(record, 65, 80)
  local shape = shapes[digest]
  if not shape then
    local key = tag .. ':shape:' .. hex16(digest, 1)
    shape = {key = key, text = redis.call('HGET', key, 'text'), left = 0}
    shapes[digest] = shape
  end
  return shape
end

-- Gives the first entry of a queued run: its hash, its exact bytes, its content.
local function expand(tag, id, record)
  local line = string.find(record, '\n', 81, true)
  local text = string.sub(record, 81, line - 1)
  local at = string.match(text, '^%d+')
  local own = string.sub(text, #at + 1)
  local shape = shapeOf(tag, record).text
  -- In a text of the user's the quotes would be escaped.
  local v = (string.find(own, '"shares":[', 1, true) or string.find(own, '"subject":"', 1, true)
    or string.find(shape, '"team":"', 1, true)) and 3 or string.find(own, '"redacted":{', 1, true) and 2 or 1
  local bytes = '{"v":' .. v .. ',"seq":1,"at":' .. at .. ',"type":"run.created","run":"' .. id .. '"'
    .. own .. ',' .. shape .. ',"content":"' .. hex32(record, 33) .. '"}'
  return hex32(record, 1), bytes, string.sub(record, line + 1)
end
