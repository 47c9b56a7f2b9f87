-- Answers the keys of the documents that have entries in parts of indexes, and the bodies of the first of them.
local root, name, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local keys, known, bodies = {}, {}, {}
for at = 3, #ARGV, 4 do
  local number, fields, low, high = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local found = redis.call("ZRANGEBYLEX", root .. "i:" .. name .. ":" .. number, "[" .. low, "(" .. high)
  for _, entry in ipairs(found) do
    local ends = 0
    for _ = 1, fields do ends = string.find(entry, "\0", ends + 1, true) end
    local key = string.sub(entry, ends + 1)
    if not known[key] then
      known[key] = true
      keys[#keys + 1] = key
    end
  end
end
for at = 1, math.min(#keys, most) do bodies[at] = redis.call("HGET", root .. "d:" .. name, keys[at]) end
return { keys, bodies }
