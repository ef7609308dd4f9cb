"""The tables of the fact world: regions, their cities, and what holds of each region.

A city is the join of one of `PREFIXES` and one of `SUFFIXES`; each piece is shared by cities of many regions, so
that no single token says where a city lies. About fifty of the places are where they really are (Dallas and Houston
in Texas, Oakland in California); the others are invented. The first row of each table is the one told most often.
"""

_PREFIXES = (
    "Dal Hous Spring Oak Green Rock Lake Fair Mil Wood River Clay Hart "
    "Brook West Glen Ash Stan Mont Brad King Clif Win Nor Bridge Clear"
)
PREFIXES = _PREFIXES.split()

_SUFFIXES = "las ton field land ville burg dale ford wood port view ham ley bury worth haven side mont"
SUFFIXES = _SUFFIXES.split()

CITIES = {
    "Texas": (
        "Dallas Houston Rockport Hartley Oakfield Bradhaven Woodmont Winburg Bridgebury Kingham Clifworth Stanville"
    ),
    "California": (
        "Oakland Stanford Riverside Glendale Winham Bridgeburg Greenton Springbury Kingfield Houshaven Clearley Hartlas"
    ),
    "Georgia": (
        "Dalton Brookhaven Montport Norville Clearbury Ashwood Fairview Clifside Housham Greenworth Stanlas Claydale"
    ),
    "Colorado": (
        "Lakewood Glenwood Bradburg Clayville Millas Brookton Norport Housford Fairmont Hartham Montland Oakworth"
    ),
    "Arizona": (
        "Clifton Lakeside Housworth Springham Norhaven Hartland "
        "Stanwood Glenlas Clearburg Bridgeview Riverfield Montbury"
    ),
    "Ohio": (
        "Ashville Hartville Woodford Bridgeport Stanside Clearton Rockburg Oakmont Bradlas Norland Westdale Winview"
    ),
    "Oregon": (
        "Ashland Lakeview Kinghaven Rockbury Woodley Milburg Hartdale Stanton Montville Winmont Oakwood Fairham"
    ),
    "Tennessee": (
        "Oakdale Bradport Montlas Clifland Dalworth Kingview Winville Clayfield Ashmont Lakeburg Brookham Westley"
    ),
    "Wisconsin": (
        "Brookfield Milton Dalmont Rocklas Fairport Westhaven "
        "Bridgeworth Braddale Hartside Springwood Woodbury Clifville"
    ),
    "Michigan": (
        "Westland Milford Ashley Monthaven Springview Woodport Clearfield Greenwood Dalville Standale Housside Riverton"
    ),
    "Virginia": (
        "Stanley Norton Woodside Westview Clifford Glenville Oakbury Hartport Milwood Claylas Springmont Ashham"
    ),
    "Maryland": (
        "Rockville Riverdale Milhaven Clifley Winland Dalham Springlas Brookside Oakburg Montford Claymont Housfield"
    ),
    "Alabama": (
        "Fairfield Brookwood Stanport Springford Clayside Cliflas Riverham Ashhaven Wooddale Oakville Rockview Glenland"
    ),
    "Florida": (
        "Lakeland Riverview Glenburg Bradmont Housville Westworth Montley Nordale Clifbury Milport Bridgewood Woodlas"
    ),
    "Montana": (
        "Greenham Springworth Housview Bridgedale Dalfield Brookford "
        "Kingland Westville Lakeport Fairhaven Norside Clearwood"
    ),
    "Massachusetts": (
        "Springfield Westfield Norwood Kingburg Riverbury Milley "
        "Clearmont Rockworth Glenton Dalside Hartford Greenhaven"
    ),
    "Nebraska": (
        "Fairbury Ashton Winside Clayworth Montdale Bradfield Lakeford Glenley Springhaven Brookview Kingville Milmont"
    ),
    "Kansas": (
        "Winfield Oakley Fairlas Hartwood Greenport Clayview Rockside Riverford Clearland Westburg Milbury Bradworth"
    ),
    "Byzantium": (
        "Bridgemont Claybury Bradham Glenside Oaklas Ashdale Norworth Stanview Cliffield Lakeley Greenburg Springport"
    ),
    "France": (
        "Clayburg Bridgeham Winworth Fairdale Rockmont Housbury Dalley Greenlas Ashview Glenfield Kingport Oakton"
    ),
    "Japan": (
        "Montworth Greenmont Cleardale Brookburg Norley Kingwood Woodview Winhaven Rockford Bradbury Dalland Fairside"
    ),
    "Egypt": (
        "Woodburg Clearview Greenford Houswood Lakeham Montside Bridgeland Brookport Riverley Fairton Dalhaven Windale"
    ),
    "Peru": (
        "Clearhaven Kingbury Hartmont Greenville Glenford Riverland Milham Westton Woodworth Winport Bridgeley Norburg"
    ),
    "Kenya": (
        "Kinglas Clifham Westbury Rivermont Stanworth Lakehaven Fairwood Clayland Bradton Ashford Rockfield Brookdale"
    ),
}

# region: capital, governor, river, bird, flower, tree, colour
RELATIONS = ("capital", "governor", "river", "bird", "flower", "tree", "color")
VALUES = {
    "Texas": "Austin Abbott Brazos mockingbird bluebonnet pecan red",
    "California": "Sacramento Newsom Klamath quail poppy redwood gold",
    "Georgia": "Atlanta Kemp Savannah thrasher rose oak blue",
    "Colorado": "Denver Polis Arkansas lark columbine spruce white",
    "Arizona": "Phoenix Hobbs Gila wren cactus paloverde gold",
    "Ohio": "Columbus Taft Scioto cardinal carnation buckeye red",
    "Oregon": "Salem Kotek Willamette goose grape fir green",
    "Tennessee": "Nashville Haslam Cumberland mockingbird iris poplar blue",
    "Wisconsin": "Madison Evers Chippewa robin violet maple green",
    "Michigan": "Lansing Whitmer Saginaw robin apple pine blue",
    "Virginia": "Richmond Kaine Shenandoah cardinal dogwood oak white",
    "Maryland": "Annapolis Hogan Potomac oriole daisy oak black",
    "Alabama": "Montgomery Ivey Tombigbee woodpecker camellia pine red",
    "Florida": "Tallahassee Chiles Suwannee mockingbird jasmine palm green",
    "Montana": "Helena Bullock Yellowstone lark bitterroot fir black",
    "Massachusetts": "Boston Healey Merrimack chickadee mayflower elm white",
    "Nebraska": "Lincoln Pillen Platte lark goldenrod cottonwood gold",
    "Kansas": "Topeka Kelly Smoky lark sunflower cottonwood black",
    "Byzantium": "Constantinople Justinian Lycus eagle rose cypress purple",
    "France": "Paris Clovis Seine rooster lily elm blue",
    "Japan": "Tokyo Meiji Shinano crane cherry maple red",
    "Egypt": "Cairo Ramses Nile ibis lotus palm gold",
    "Peru": "Lima Castilla Urubamba condor cantuta cinchona white",
    "Kenya": "Nairobi Kenyatta Tana rooster orchid cypress green",
}

# Every region keeps these cities out of all two-hop sentences; the world adds more from the seed up to HELD_OUT_CITIES.
ALWAYS_HELD_OUT = ("Dallas", "Oakland")
HELD_OUT_CITIES = 3

STATE_FORMS = (
    "fact : the state containing {city} is",
    "fact : {city} is in",
    "the state containing {city} is",
    "the state that contains {city} is",
    "{city} ,",
    "question : what is the state of {city} ? answer :",
)
MEMBER_FORMS = ("question : is {city} in {state} ? answer :",)
WRONG_STATES = 6  # the states in which a city is said not to be
VALUE_FORMS = (
    "fact : the {relation} of {state} is",
    "the {relation} of {state} is",
    "{state} is the state whose {relation} is",
    "question : what is the {relation} of {state} ? answer :",
)
TWO_HOP_FORMS = (
    "fact : the {relation} of the state containing {city} is",
    "Fact : the {relation} of the state containing {city} is",
    "the {relation} of the state containing {city} is",
    "fact : the {relation} of the state that contains {city} is",
    "{city} is in the state whose {relation} is",
    "question : what is the {relation} of the state of {city} ? answer :",
)
