import stemwright as sw

data = sw.PairDataset("removal-corpus/dataset", kind="removal")
print(data)
for use in data.pair(0).inputs[0].branches[0].chain:
    neutral = sw.EFFECTS[use.effect].Settings().plain()
    print(use.role or "level", use.effect)
    for name, value in use.settings.items():
        if value != neutral[name]:
            print(f"    {name} = {value if isinstance(value, str) else round(value, 2)}")
